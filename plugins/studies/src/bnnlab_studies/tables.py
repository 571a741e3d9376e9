"""How names and values of runs are shown in tables, and CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from bnnlab.cli.console import print_out, print_table, table, terminal_width
from bnnlab.engine.result import MEASURES
from bnnlab.errors import UsageError
from bnnlab.settings.text import written
from bnnlab_studies.statistics import Comparison, Summary

Csv = Annotated[bool, typer.Option("--csv", help="Print the table as CSV, in full precision.")]

_NARROWEST = 11  # of a column of text that is folded
_FRACTIONS = {name for name, each in MEASURES.items() if each.unit in ("0 to 1", "-1 to 1")}


def expect_one_format(json: bool, csv: bool) -> None:
    """Refuse two formats of the output at once.

    Raises:
        UsageError: If both are asked for.
    """
    if json and csv:
        raise UsageError("--json and --csv: choose one")


def heading(name: str) -> str:
    """Return the head of a column: `average accuracy %`, but `optimizer.lr`."""
    unit = " %" if _is_fraction(name) else ""
    return (name.replace("_", " ") if name.partition(".")[0] in MEASURES else name) + unit


def text(name: str, value: Any, sign: bool = False, digits: int = 1) -> str:
    """Return a value as tables show it: fractions in %, other numbers with six digits.

    Args:
        name: Of the setting or measure.
        value: Of it; None is `-`.
        sign: Show a plus, too.
        digits: After the point, of fractions and seconds.
    """
    plus = "+" if sign else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else written(value)
    if _is_fraction(name):
        return f"{100 * value:{plus}z.{digits}f}"
    return f"{value:{plus}z.{digits}f}" if name == "seconds" else f"{value:{plus}.6g}"


def interval(name: str, of: Summary | Comparison, sign: bool = False) -> str:
    """Return the ends of an interval as tables show them."""
    return (
        "-" if of.low is None else " to ".join(text(name, end, sign) for end in (of.low, of.high))
    )


def _is_fraction(name: str) -> bool:
    return name.partition(".")[0] in _FRACTIONS


def print_rows(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> None:
    """Print rows as a table; where the terminal is narrow, text is folded, and numbers are not.

    Args:
        heads: Of the columns.
        rows: Their cells.
        numbers: How many of the last columns are aligned to the right.
    """
    made, texts, width = table(heads, rows, numbers), len(heads) - numbers, terminal_width()
    longest = [
        max((len(word) for cell in column for word in cell.split()), default=0)
        for column in zip(heads, *rows, strict=True)
    ]
    folded = [min(each, _NARROWEST) for each in longest[:texts]] + longest[texts:]
    if _width(folded) > width:
        print_table(heads, rows, numbers)
        return
    least = longest if _width(longest) <= width else folded
    for column, each in zip(made.columns, least, strict=True):
        column.min_width = each
    print_out(made)


def _width(columns: Sequence[int]) -> int:
    return sum(columns) + 2 * (len(columns) - 1)


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
