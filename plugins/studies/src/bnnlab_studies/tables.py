"""How names and values of runs are shown in tables, and CSV."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from bnnlab.cli.console import print_out, print_table, table, terminal_width
from bnnlab.engine.figures import OF_SCORE, SHARE, Score
from bnnlab.engine.result import MEASURES
from bnnlab.errors import UsageError
from bnnlab.settings.text import written
from bnnlab_studies.results import UNITS, range_of
from bnnlab_studies.statistics import Comparison, Summary

if TYPE_CHECKING:
    from rich.table import Table

Average = TypeVar("Average", bound=Summary | Comparison)
Units = Mapping[str, str]
"""Unit or range of measures by name, see `bnnlab_studies.results`."""
Csv = Annotated[bool, typer.Option("--csv", help="Print the table as CSV, in full precision.")]

_NARROWEST = 11  # that a column of text is made


def expect_one_format(json: bool, csv: bool) -> None:
    """Refuse two formats of the output at once.

    Raises:
        UsageError: If both are asked for.
    """
    if json and csv:
        raise UsageError("--json and --csv: choose one")


def heading(name: str, score: Score, tasks: int = 0) -> str:
    """Return the head of a column: `average accuracy %`, `average R2`, but `optimizer.lr`.

    Args:
        name: Of the setting or measure.
        score: Of the runs.
        tasks: That the runs have, if it is known: one task has no average.
    """
    head = name.partition(".")[0]
    if head not in MEASURES:
        return name
    words = (name.removeprefix("average_") if tasks == 1 else name).replace("_", " ")
    return (score.named(words) if head in OF_SCORE else words) + unit(name, score)


def unit(name: str, score: Score) -> str:
    """Return what follows a value of a measure."""
    return " %" * is_fraction(name, score)


def heading_of_difference(heading: str) -> str:
    """Return the head of differences, such as `difference of average accuracy, in points`.

    Args:
        heading: Of the column of what differs: `average accuracy %`.
    """
    words = heading.removesuffix(" %")
    return f"difference of {words}{', in points' * (words != heading)}"


def unit_of_difference(name: str, score: Score) -> str:
    """Return what follows a difference of two values: percentages differ by points."""
    return " points" * is_fraction(name, score)


def text(name: str, value: Any, score: Score, sign: bool = False, digits: int = 1) -> str:
    """Return a value as tables show it: fractions in %, other numbers with six digits.

    Args:
        name: Of the setting or measure.
        value: Of it; None is `-`.
        score: Of the runs.
        sign: Show a plus, too.
        digits: After the point, of fractions and seconds.
    """
    plus = "+" if sign else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else written(value)
    if name.partition(".")[0] in OF_SCORE:
        return score.number(value, plus, digits)
    if is_fraction(name, score):
        return SHARE.number(value, plus, digits)
    return f"{value:{plus}z.{digits}f}" if name == "seconds" else f"{value:{plus}.6g}"


def possible(name: str, of: Average, score: Score, units: Units = UNITS) -> Average:
    """Return a mean of a measure, or a difference, with its interval cut at what it can be."""
    if of.low is None or of.high is None:
        return of
    low, high = range_of(name, score, units)
    if isinstance(of, Comparison):
        low, high = low - high, high - low
    return replace(of, low=max(of.low, low), high=min(of.high, high))


def interval(
    name: str, of: Summary | Comparison, score: Score, sign: bool = False, units: Units = UNITS
) -> str:
    """Return the ends of an interval as tables show them: cut at what is possible."""
    return _interval(name, possible(name, of, score, units), score, sign)


def cut_note(
    found: Iterable[tuple[str, Summary | Comparison]], score: Score, units: Units = UNITS
) -> str:
    """Return what is to be said of intervals that are shown cut; nothing if none is.

    Args:
        found: Means or differences, each with the name of its measure.
        score: Of the runs.
        units: What is declared of measures.
    """
    for name, each in found:
        if _interval(name, each, score) != interval(name, each, score, units=units):
            return "intervals are cut at the ends of what is possible"
    return ""


def _interval(name: str, of: Summary | Comparison, score: Score, sign: bool = False) -> str:
    ends = (of.low, of.high)
    return "-" if of.low is None else " to ".join(text(name, end, score, sign) for end in ends)


def p_value(value: float | None) -> str:
    """Return a p-value as tables show it."""
    return "-" if value is None else f"{value:.3g}"


def sentence(measure: str, of: Comparison, score: Score) -> str:
    """Return a comparison in one line: difference, interval, pairs and the p-value of the t-test.

    The p-value is the one that is corrected for all comparisons made together, if there are
    several.
    """
    if not of.seeds:
        return f"{of.other} minus {of.first}: {of.note}"
    difference = text(measure, of.difference, score, sign=True)
    difference += unit_of_difference(measure, score)
    size = f"{of.other} minus {of.first}: {difference}"
    if of.low is not None:
        size += f" (95 % interval {interval(measure, of, score, sign=True)})"
    found = [size, *[f"{len(of.seeds)} pairs"] * (len(of.seeds) > 1)]
    if of.p_holm is not None:
        found.append(f"p (Holm) {p_value(of.p_holm)}")
    else:
        found.append(of.note if of.p_t is None else f"p (t) {p_value(of.p_t)}")
    return ", ".join(found)


def is_fraction(name: str, score: Score) -> bool:
    """Return whether tables show a measure in %."""
    head = name.partition(".")[0]
    return head in MEASURES and range_of(head, score)[1] == 1


def print_rows(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: int = 0,
    split: Callable[[str], tuple[str, str]] = lambda cell: (cell, ""),
) -> None:
    """Print rows as a table. Where the terminal is narrow, first cells have lines of their own.

    Args:
        heads: Of the columns.
        rows: Their cells.
        numbers: How many of the last columns are aligned to the right.
        split: Returns what of a first cell stands on the line above, and what in its row.
    """
    if widths := _widths(heads, rows):
        _print_aligned(table(heads, rows, numbers), widths)
        return
    lines = [(above, (inner, *rest)) for first, *rest in rows for above, inner in [split(first)]]
    widths = _widths(heads, [row for _, row in lines], folded=len(heads) - numbers)
    if not widths:
        print_table(heads, rows, numbers)
        return
    _print_aligned(table(heads, [], numbers), widths)
    for above, some in groupby(lines, key=itemgetter(0)):
        print_out(above, soft_wrap=True)
        _print_aligned(table((), [row for _, row in some], numbers), widths)


def _widths(heads: Sequence[str], rows: Sequence[Sequence[str]], folded: int = 0) -> list[int]:
    """Return the widths of columns; none if the terminal has no room for them.

    Args:
        heads: They are folded between words if need be.
        rows: The cells.
        folded: Of so many first columns, the widest one may be folded.
    """
    columns = zip(heads, *rows, strict=True)
    widths = [max(map(len, (*head.split(), *cells)), default=0) for head, *cells in columns]
    spare = terminal_width() - sum(widths) - 2 * (len(widths) - 1)
    if spare < 0:
        widest = max(range(folded), key=widths.__getitem__, default=-1)
        widths[widest] += spare
        return widths if folded and widths[widest] >= _NARROWEST else []
    lacking = [max(0, len(head) - width) for head, width in zip(heads, widths, strict=True)]
    for place in sorted(range(len(heads)), key=lacking.__getitem__):
        more = min(spare, lacking[place])
        widths[place], spare = widths[place] + more, spare - more
    return widths


def _print_aligned(made: "Table", widths: Sequence[int]) -> None:
    for column, width in zip(made.columns, widths, strict=True):
        column.width = width
    print_out(made)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a head, in full precision; lists are JSON, and None is empty."""
    made = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(made, [*columns], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        lists = {name: json.dumps(it) for name, it in row.items() if isinstance(it, list | tuple)}
        writer.writerow({**row, **lists})
    return made.getvalue()
