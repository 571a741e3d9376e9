"""The plugins of the repository: what they offer, and a page for each."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import tomli

from bnnlab.cli.describing import option_rows
from bnnlab.registry.components import PARTS, Command, Component, noun
from bnnlab.registry.hookspecs import ENTRY_POINT_GROUP
from bnnlab_site.markdown import code, escaped, table


@dataclass(frozen=True)
class Offers:
    """What a plugin's folder offers.

    Attributes:
        folder: Of the plugin.
        distribution: Its name.
        components: In the plugin's order.
        commands: In the plugin's order.
    """

    folder: Path
    distribution: str
    components: tuple[Component, ...]
    commands: tuple[Command, ...]

    @property
    def place(self) -> str:
        """The place of its page: among the methods, if a run learns with it."""
        is_method = any(component.kind in PARTS for component in self.components)
        return f"{'methods' if is_method else 'tools'}/{self.folder.name}.md"


def read_plugins(root: Path) -> list[Offers]:
    """Ask every plugin of the repository what it offers. It need not be installed."""
    files = sorted(root.glob("plugins/*/pyproject.toml"))
    sys.path += [str(file.parent / "src") for file in files]
    return [_read(file) for file in files]


def _read(file: Path) -> Offers:
    project = tomli.loads(file.read_text("utf-8"))["project"]
    modules = project.get("entry-points", {}).get(ENTRY_POINT_GROUP, {}).values()
    entries = [import_module(module) for module in modules]
    components = [it for each in entries for it in getattr(each, "bnnlab_components", list)()]
    commands = [it for each in entries for it in getattr(each, "bnnlab_commands", list)()]
    return Offers(file.parent, project["name"], tuple(components), tuple(commands))


def all_options(offers: Offers) -> str:
    """Return the section on all components of a plugin, with their options; empty without any.

    Components of one kind that have the same options and capabilities share a table.
    """
    groups: dict[str, list[Component]] = {}
    for component in offers.components:
        key = [component.kind, *_abilities(component), option_rows(component.options)]
        groups.setdefault(repr(key), []).append(component)
    sections = ["\n".join(_section(group)) for group in groups.values()]
    return "\n".join(["\n## All options\n", *sections]) if sections else ""


def _section(group: list[Component]) -> Iterator[str]:
    first, *others = group
    yield f"### {noun(first.kind).capitalize()} {_listed(each.name for each in group)}\n"
    for component in group:
        name = f"{code(component.name)}: " if others else ""
        yield f"- {name}{escaped(component.summary)} Source: {escaped(component.source)}."
    yield from _abilities(first)
    rows = [
        (code(name), escaped(kind), code(default), escaped(meaning))
        for name, kind, default, meaning in option_rows(first.options)
    ]
    yield (
        f"\n{table(('option', 'type', 'default', 'meaning'), rows)}" if rows else "- No options.\n"
    )


def _abilities(component: Component) -> Iterator[str]:
    if component.requires:
        yield f"- Requires: {_listed(sorted(component.requires))}."
    if component.provides:
        yield f"- Provides: {_listed(sorted(component.provides))}."
    if component.default_model is not None:
        yield f"- Default model with it: {code(component.default_model)}."
    if component.state_bytes is not None:
        yield f"- Optimizer state: {component.state_bytes} bytes per weight."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(code, names))
