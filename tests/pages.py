"""The documents, and the code in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bnnlab.registry.host import PluginHost

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
    *sorted(ROOT.glob("runtime/*.md")),
]


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        language: What stands behind the fence; empty for commands and for what is no code.
        file: The name in front of it (`src/mine.py`:), or in its first comment (# mine.toml).
    """

    language: str
    text: str
    file: str | None


def name(page: Path) -> str:
    """Return a page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def read(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a text, in a language or in all."""
    pattern = r"(?:^`([\w./-]+)`[^\n]*:\n+)?^```(\w*)\n(.*?)^```$"
    found = []
    for named, kind, code in re.findall(pattern, text, re.MULTILINE | re.DOTALL):
        said = re.match(r"# ([\w-]+\.toml)\b", code)
        found.append(Block(kind, code, named or (said[1] if said else None)))
    fences = re.findall(r"^ *```", text, re.MULTILINE)
    assert len(found) * 2 == len(fences), "a fence that is indented, or left open"
    return [block for block in found if language in (None, block.language)]


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words behind each `bnn` in a block of commands, or in its first comment.

    Pipes, redirections and comments are left out.
    """
    text = block.text.replace("\\\n", " ")
    start = r"^# [\w-]+\.toml:\s+bnn (.*)$"
    if block.language in ("", "sh"):
        start = r"^(?:\w+=\S+ )?(?:\.?[\w/]+/)?bnn (.*)$"
    for line in re.findall(start, text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        ends = [words.index(mark) for mark in ("|", ">") if mark in words]
        yield words[: min(ends, default=None)]


def understood(group: Any, words: list[str]) -> Any:
    """Return the context of a command that is parsed, and not run; an unknown one is refused."""
    context = group.make_context("bnn", [], resilient_parsing=True)
    context.resilient_parsing = False  # in which an unknown command is None
    name, command, rest = group.resolve_command(context, words)
    while hasattr(command, "commands") and rest:
        name, command, rest = command.resolve_command(context, rest)
    return command.make_context(name, rest)


def installed(host: PluginHost) -> list[Path]:
    """Return the pages, without those of plugins that this environment does not have."""
    known = {plugin.distribution for plugin in host.plugins}
    return [
        page
        for page in PAGES
        if page.parent.parent != ROOT / "plugins" or f"bnnlab-{page.parent.name}" in known
    ]
