"""The navigation of the site: its sections, and the pages in them."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

SECTIONS: Mapping[str, Sequence[Any]] = {
    "Start": ("index.md", "start.md", "own.md", "concepts.md", "choosing.md"),
    "Guides": (
        *("running.md", "studies.md", "claims.md", "deploying.md", "runtime.md", "installing.md"),
        "faq.md",
        {"Tools": ("tools/*",)},
    ),
    "Methods": ("methods/index.md", "methods/*"),
    "Results": ("results/index.md", "results/*", "benchmarks.md"),
    "Plugins": (
        *("plugins/index.md", "plugins/rule.md", "plugins/optimizer.md", "plugins/model.md"),
        *("plugins/stream.md", "plugins/probe.md", "plugins/command.md", "plugins/engine.md"),
        *("plugins/tracker.md", "plugins/options.md", "plugins/hooks.md", "plugins/publishing.md"),
        {"Contracts": ("contracts/index.md", "contracts/*")},
    ),
    "Reference": (
        *("reference/cli.md", "reference/settings.md", {"Python": ("reference/python/*",)}),
        *("format.md", "compatibility.md", "glossary.md"),
    ),
    "Project": ("architecture.md", "contributing.md", "cite.md", "changelog.md"),
}
"""Places of pages, or patterns of them, in the order in which they are shown."""


def navigation(titles: Mapping[str, str]) -> list[Any]:
    """Return the navigation as Zensical reads it.

    Args:
        titles: Of all pages, by their place.

    Raises:
        ValueError: If a page is in no section, with its place.
    """
    left = dict(titles)
    found = _entries(SECTIONS, left)
    if left:
        raise ValueError(f"in no section of the navigation: {', '.join(left)}")
    return found


def _entries(sections: Mapping[str, Sequence[Any]], left: dict[str, str]) -> list[Any]:
    """Return the sections that have a page; their pages are taken out of those that are left."""
    found = {name: _pages(entries, left) for name, entries in sections.items()}
    return [{name: pages} for name, pages in found.items() if pages]


def _pages(entries: Sequence[Any], left: dict[str, str]) -> list[Any]:
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, Mapping):
            found += _entries(entry, left)
            continue
        for place in sorted(it for it in left if fnmatch(it, entry)):
            found.append({left.pop(place): place})
    return found
