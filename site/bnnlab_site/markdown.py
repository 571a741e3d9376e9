"""Markdown: what we write (GitHub's) becomes what Zensical reads (Python-Markdown's)."""

import re
from collections.abc import Callable, Iterable, Sequence
from textwrap import indent

FENCED = re.compile(r"^(?P<fence> *(?:```+|~~~+))[^\n]*\n(?:.*?\n)??(?P=fence) *$", re.M | re.S)
"""A fenced block."""
CODE = re.compile(r"(?P<ticks>`+)(?:(?!\n\n).)*?(?<!`)(?P=ticks)(?!`)", re.S)
"""`Code` in a sentence."""
_SPECIAL = re.compile(r"[\\*_\[\]|]")
_PLAIN_LINE = r"^(?![-*+] |\d+\. |[\s#|]).+\n"
_ITEM = r"(?=(?:[-*+]|1\.) )"
_HEAD_OF_TABLE = r"(?=\|.*\n\|[ :|-]+\|$)"
_BEFORE_BLOCK = re.compile(f"({_PLAIN_LINE})(?:{_ITEM}|{_HEAD_OF_TABLE})", re.M)
_INNER_ITEM = re.compile(r"^ {2,3}(?=(?:[-*+]|\d+\.) )", re.M)


def outside(pattern: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """Change the parts of a text in which a pattern is not found."""
    made, end = "", 0
    for found in pattern.finditer(text):
        made += change(text[end : found.start()]) + found[0]
        end = found.end()
    return made + change(text[end:])


def portable(text: str) -> str:
    """Let Python-Markdown find lists, tables and fenced blocks where GitHub finds them.

    An empty line comes before a list, before a table, and around a fenced block. What is in a list
    is indented by four spaces.
    """
    return outside(FENCED, FENCED.sub(_apart, text), _in_blocks)


def _apart(block: re.Match[str]) -> str:
    inside = len(block["fence"]) - len(block["fence"].lstrip())
    more = " " * (4 - inside) if 0 < inside < 4 else ""
    return f"\n{indent(block[0], more)}\n"


def _in_blocks(prose: str) -> str:
    return _INNER_ITEM.sub("    ", _BEFORE_BLOCK.sub(r"\1\n", prose))


def escaped(text: str) -> str:
    """Return plain text as Markdown that shows it; `code` stays code."""
    return outside(CODE, text, lambda it: _SPECIAL.sub(r"\\\g<0>", it).replace("<", "&lt;"))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. Its cells are Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |\n" for line in lines)


def code(text: str) -> str:
    """Return text without backticks as `code`."""
    return f"`{text}`" if text else ""


def fenced(text: str) -> str:
    """Return text as a block of code."""
    return f"```\n{text.strip()}\n```\n"
