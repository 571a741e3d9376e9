"""Where output goes: results to standard output, all else to standard error.

Text of users and plugins goes through `line`, which escapes control characters. A character that
the terminal cannot encode is written as an escape of Python.
"""

import io
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Annotated, Any, cast

import typer

from bnnlab.errors import RunError, StoppedError, printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output.")]

Part = str | float | tuple[str, str]
"""A string or a number, or a string and its style."""

NARROWEST = 20
"""Smallest width of the output, in columns. A smaller COLUMNS is ignored."""
NARROW = 50
"""Width below which nothing stands beside something else, in columns."""
WIDEST = 100
"""Width of text that is easy to read, in columns. A wider terminal is not filled with it."""
_UNBOUNDED = 100_000
_BETWEEN = "  "
LONGEST = 2000
"""Largest length of an error, in characters. A longer one loses its middle."""


def prepare() -> None:
    """Let standard output and standard error accept any text, even if they are closed."""
    for size in ("COLUMNS", "LINES"):
        said = os.environ.get(size, "")
        if not re.fullmatch("[0-9]{1,4}", said) or int(said) < NARROWEST:
            os.environ.pop(size, None)  # rich and typer then ask the terminal, or take 80
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        # PYTHONUNBUFFERED: what the disk does not take of one write would be lost in silence.
        sys.stdout = open(  # noqa: SIM115
            sys.stdout.fileno(),
            "w",
            buffering=1,
            encoding=sys.stdout.encoding,
            errors="backslashreplace",
            closefd=False,
        )


def line(*parts: Part) -> "Text":
    """Join parts to one text, and escape control characters."""
    from rich.text import Text

    pairs = (part if isinstance(part, tuple) else (str(part), "") for part in parts)
    return Text.assemble(*((printable(text), style) for text, style in pairs))


def terminal_width() -> int:
    """Return the width of standard output, in columns."""
    return _console().width


def table(heads: Sequence[str], rows: Sequence[Sequence[Part]], numbers: int = 0) -> "Table":
    """Return a table. Text that is too long for its column is folded.

    Args:
        heads: Of the columns; empty for a table without heads.
        rows: Their cells; at least one row in a table without heads.
        numbers: How many of the last columns are aligned to the right.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, show_header=bool(heads))
    for head in heads or rows[0]:
        made.add_column(line(head), overflow="fold")
    for column in made.columns[len(made.columns) - numbers :]:
        column.justify = "right"
    for row in rows:
        made.add_row(*map(line, row))
    return made


def print_table(heads: Sequence[str], rows: Sequence[Sequence[Part]], numbers: int = 0) -> None:
    """Print rows as a `table`.

    If the terminal is too narrow for the longest words, print each cell on a line of its own.
    """
    console = _console()
    every = [[(head, "table.header") for head in heads], *rows] if heads else rows
    if widths := _widths(every, console.width):
        print_out(_lines(every, numbers, widths), soft_wrap=True)
        return
    shown = table(heads, rows, numbers)
    unbounded = console.options.update(width=_UNBOUNDED)
    if not heads or console.measure(shown, options=unbounded).minimum <= console.width:
        print_out(shown)
        return
    for name, *cells in rows:
        print_out(line(name))
        for head, cell in zip(heads[1:], cells, strict=True):
            if cell != "":
                print_out(line(f"{head}: ", cell), indent=2)


def _widths(rows: Sequence[Sequence[Part]], most: int) -> list[int]:
    """Return the columns' widths as rich has them where it folds the last column or none.

    Empty if it folds others, or if the last has longer words.
    """
    from rich.cells import cell_len

    texts = [[line(cell).plain for cell in row] for row in rows]
    *widths, last = (max(map(cell_len, column)) for column in zip(*texts, strict=True))
    last = min(last, most - sum(widths) - len(_BETWEEN) * len(widths))
    words = (cell_len(word) for *_, text in texts for word in text.split())
    return [*widths, last] if last >= max([*widths, *words]) else []


def _lines(rows: Sequence[Sequence[Part]], numbers: int, widths: Sequence[int]) -> "Text":
    """Return a table as one text, which rich prints ten times as fast as its tables."""
    from rich.text import Text

    shown, console, first_number = list[Text](), _console(), len(widths) - numbers
    for row in rows:
        *cells, last = map(line, row)
        for end in last.wrap(console, widths[-1], overflow="fold"):
            cells.append(end)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
                cell.rstrip()
                (cell.pad_left if place >= first_number else cell.pad_right)(width - cell.cell_len)
            shown.append(Text(_BETWEEN).join(cells))
            cells = [Text() for _ in widths[1:]]
    return Text("\n").join(shown)


print_entries = print_table
"""Its earlier name."""


def print_described(rows: Sequence[tuple["Text", str, str]]) -> None:
    """Print each head with what stands beside it, and a text below both, over the full width.

    What stands beside a long head, or on a narrow terminal, goes to the next line.
    """
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.padding import Padding
    from rich.table import Table

    width = min(terminal_width(), WIDEST)
    most = 2 * width // 5 if width >= NARROW else 0
    left = max((head.cell_len for head, _, _ in rows if head.cell_len <= most), default=0)
    shown = list["RenderableType"]()
    for head, beside, below in rows:
        if head.cell_len > left:
            shown += [Padding.indent(head, 2), Padding.indent(line(beside), 6)]
        else:
            first = Table.grid(padding=(0, 2, 0, 0))
            first.add_column(width=left)
            first.add_column(overflow="fold")
            first.add_row(head, line(beside))
            shown.append(Padding.indent(first, 2))
        shown.append(Padding.indent(line(below), 6))
    print_out(Constrain(Group(*shown), width))


def print_json(document: Any) -> None:
    """Print one JSON document to standard output."""
    print_file(json.dumps(document, indent=2) + "\n")


def print_file(text: str) -> None:
    """Print what another program reads to standard output, such as CSV, as it is."""
    with _writing():
        sys.stdout.write(text)


def print_out(content: "RenderableType" = "", soft_wrap: bool = False, indent: int = 0) -> None:
    """Print to standard output; wrap lines to the terminal, unless `soft_wrap` is set.

    All lines begin with `indent` spaces.
    """
    from rich.padding import Padding

    shown = line(content) if isinstance(content, str) else content
    with _writing():
        _console().print(Padding.indent(shown, indent) if indent else shown, soft_wrap=soft_wrap)


def report_error(message: str) -> None:
    """Print an error to standard error in one line, so that a command in it can be copied."""
    half, left = LONGEST // 2, len(message) - LONGEST
    text = message if left <= 0 else f"{message[:half]}... ({left:,} more) ...{message[-half:]}"
    error_console().print(line(("error: ", "bold red"), text), soft_wrap=True)


def report_note(message: str) -> None:
    """Print a line to standard error, with control characters escaped."""
    with suppress(OSError):
        sys.stderr.write(printable(message) + "\n")


def report_traceback() -> None:
    """Print to standard error the traceback of the exception that is being handled."""
    for text in traceback.format_exc().splitlines():
        report_note(text)


def finish() -> None:
    """Flush standard output, so that a full disk is an error."""
    with _writing():
        pass


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # Python would try again at its end, and complain; what is left goes nowhere instead.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise RunError(f"cannot write to standard output: {error.strerror}") from error


def _console() -> "Console":
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; `main` knows better

    return Piped(highlight=False)


def error_console() -> "Console":
    """Return a console on standard error. A run does not fail if it cannot be written."""
    from rich.console import Console

    return Console(file=cast(IO[str], _Forgiving(sys.stderr)), highlight=False)


class _Forgiving:
    """A stream that drops what cannot be written to it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


@contextmanager
def stoppable(again: Callable[[], str]) -> Iterator[None]:
    """End the command with one line, and a command that goes on, if a signal stops the block.

    Args:
        again: Returns that command; empty if there is nothing to go on with.
    """
    try:
        yield
    except (KeyboardInterrupt, StoppedError) as error:
        if command := again():
            report_note(f"to continue: {command}")
        stop = error if isinstance(error, StoppedError) else StoppedError(signal.SIGINT)
        report_error(f"stopped by {stop.signal}")
        raise typer.Exit(stop.exit_code) from None
