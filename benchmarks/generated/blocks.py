"""Blocks of Markdown that commands write: `<!-- generated: WHAT -->` to `<!-- end -->`.

WHAT is `results.py NAME [PART ...]`, with a study, a table of it, and one value of what this is
`by`; or `results.py summary`; or `claims`, for the cards of all claims.
"""

import functools
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bnnlab import PluginHost, UsageError
from generated.claims import claims
from generated.measured import cards_of
from generated.rendering import tables
from generated.studies import kept
from generated.summary import summary

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/**/*.md", "plugins/*/README.md")
BLOCK = re.compile(r"^(<!-- generated: ([^\n]+) -->\n).*?^(<!-- end -->)$", re.M | re.S)
NOTHING = ["No run is complete yet.", ""]
"""Stands where a table would have no row."""


def pages(root: Path = ROOT) -> Iterator[Path]:
    """Yield the pages that may have such blocks."""
    for pattern in PAGES:
        yield from sorted(root.glob(pattern))


def generator() -> Callable[[str], list[str]]:
    """Return what generates the lines of a block; each study is read once.

    Raises:
        UsageError: If nothing is called so.
    """
    read = functools.cache(kept)

    def lines(what: str) -> Iterable[str]:
        match shlex.split(what):
            case ["results.py", "summary"]:
                return summary(lambda name: read(name)[1])
            case ["results.py", name, *parts]:
                return tables(*read(name), parts)
            case ["claims"]:
                return claims(cards_of(PluginHost()))
        raise UsageError(f"nothing generates {what!r}: write results.py NAME, or claims")

    return lambda what: [*lines(what)] or NOTHING


def rewritten(page: Path, generate: Callable[[str], list[str]]) -> str:
    """Return the text of a page with its blocks as they are generated now.

    Raises:
        UsageError: If a block has no end, or nothing generates it.
    """
    text = page.read_text(encoding="utf-8")
    if len(BLOCK.findall(text)) < len(re.findall(r"^<!-- generated:", text, re.M)):
        raise UsageError(f"{page}: a generated block has no <!-- end -->")
    return BLOCK.sub(lambda it: "\n".join([it[1], *generate(it[2]), it[3]]), text)


def write() -> list[Path]:
    """Write the blocks of all pages anew; return the pages that change."""
    generate, changed = generator(), []
    for page in pages():
        new = rewritten(page, generate)
        if new != page.read_text(encoding="utf-8"):
            page.write_text(new, encoding="utf-8", newline="\n")
            changed.append(page)
    return changed
