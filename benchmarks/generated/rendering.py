"""Tables in Markdown, as study files describe them: docs/results/README.md says how."""

import re
import statistics
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bnnlab import UsageError
from bnnlab.errors import did_you_mean
from bnnlab_studies.record import Record
from generated.paired import HEADINGS, paired

Described = Mapping[str, Any]
"""A table or a column, as the study file describes it."""
Cells = Mapping[str, list[Record]]
"""The complete runs of each cell by its name, in the order of the study and of the seeds."""
MISSING = "-"
"""Stands for a measure that no run has."""
Row = tuple[dict[str, str], list[Record]]
"""The parts of a cell's name, and its runs."""


def tables(
    described: Iterable[Described], cells: Cells, parts: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the lines of all tables that have rows, with an empty line after each.

    Args:
        described: The tables.
        cells: The runs.
        parts: Which of them: a table's `name`, a value of what it is `by`, or both.

    Raises:
        UsageError: If none is called so, though there are runs.
    """
    known = set[str]()
    for table in described:
        name = table.get("name", "")
        known.add(name)
        for group, rows in _groups(table, _rows(table, cells)).items():
            known.add(str(group))
            if not {*parts} <= {name, str(group)} or ("compare" in table and len(rows) < 2):
                continue
            every = [run for _, runs in rows for run in runs]
            if title := _text(table.get("title", ""), {}, every):
                yield from (title, "")
            if "compare" in table:
                compared = {parts["cell"]: runs for parts, runs in rows}
                yield from lines(HEADINGS, paired(compared, table["compare"]))
            else:
                columns = table["columns"]
                shown = ([entry(table, column, *row, cells) for column in columns] for row in rows)
                yield from lines([column["heading"] for column in columns], shown)
            yield ""
    if any(cells.values()) and (wrong := [part for part in parts if part not in known]):
        raise UsageError(f"no table is called {wrong[0]!r}.{did_you_mean(wrong[0], known)}")


def lines(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    for number, entries in enumerate((headings, *rows)):
        yield f"| {' | '.join(entries)} |"
        if number == 0:
            yield f"|{'---|' * len(headings)}"


def _rows(table: Described, cells: Cells) -> Iterator[Row]:
    """Yield the cells that the table shows. None is compared with itself (`minus`)."""
    wanted = table.get("cells", "{cell}")
    patterns = [_pattern(each) for each in ([wanted] if isinstance(wanted, str) else wanted)]
    for cell, runs in cells.items():
        fits = next((fit for pattern in patterns if (fit := pattern.fullmatch(cell))), None)
        if fits is None or not runs:
            continue
        parts = {**fits.groupdict(), "cell": cell}
        if all(
            column.get("minus", "").format(**parts) != cell for column in table.get("columns", ())
        ):
            for shown in [[run] for run in runs] if table.get("each_seed") else [runs]:
                yield parts, shown


def _pattern(template: str) -> re.Pattern[str]:
    """Return what finds the parts of a name: `{rule}-{m}` fits `bp-0.5`."""
    texts, names = (re.split(r"\{(\w+)\}", template)[start::2] for start in (0, 1))
    groups = [*(f"(?P<{name}>.+?)" for name in names), ""]
    return re.compile(
        "".join(re.escape(text) + group for text, group in zip(texts, groups, strict=True))
    )


def _groups(table: Described, rows: Iterable[Row]) -> Mapping[Any, list[Row]]:
    """Return the rows of each table: one, or one per value of what `by` names."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[1][0][table["by"]] if "by" in table else None, []).append(row)
    return groups


def entry(
    table: Described, column: Described, parts: Mapping[str, str], runs: list[Record], cells: Cells
) -> str:
    """Return what stands in a column of a row."""
    cell = column.get("cell", parts["cell"]).format(**parts)
    found = cells.get(cell, []) if "cell" in column else runs
    without = cells.get(column["minus"].format(**parts), []) if "minus" in column else []
    if len({run["protocol"] for run in (*runs, *found, *without)}) > 1:
        raise UsageError(f"{cell}: figures of different protocols do not stand in one row")
    figures = table.get("figures", {})
    shown = ""
    if "measure" in column:
        less = figures[column["less"]][cell] if "less" in column else 0.0
        is_change = "minus" in column
        values = _differences(column, found, without) if is_change else _values(column, found)
        shown = _shown(column, values, column.get("plus", 0.0) - less)
    elif "figure" in column:
        shown = str(figures[column["figure"]].get(cell, ""))
    return shown if shown == MISSING else _text(column.get("text", "{}"), parts, found, shown)


def _values(column: Described, runs: Iterable[Record]) -> list[Any]:
    """Return a measure of each run that has it."""
    found = [run.get(column["measure"]) for run in runs]
    return [value for value in found if value not in (None, [])]


def _differences(column: Described, runs: list[Record], without: list[Record]) -> list[float]:
    """Return the difference of each run from the one of the same seed."""
    plain = {run["seed"]: run for run in without}
    pairs = [_values(column, (run, plain[run["seed"]])) for run in runs if run["seed"] in plain]
    return [pair[0] - pair[1] for pair in pairs if len(pair) == 2]


def _shown(column: Described, values: Sequence[Any], plus: float) -> str:
    """Return the values of all seeds as text; of lists, those of each position, joined."""
    if not values:
        return MISSING
    if isinstance(values[0], list) and column.get("show") != "course":
        between: str = column.get("join", "; ")
        return between.join(_shown(column, its, plus) for its in zip(*values, strict=True))

    def number(value: float) -> str:
        return format(column.get("scale", 100) * value + plus, column.get("format", ".1f"))

    match column.get("show", "each"):
        case "each":
            return f"{number(statistics.mean(values))} ({', '.join(map(number, values))})"
        case "mean":
            return number(statistics.mean(values))
        case "range":
            spread = f"{number(min(values))} to {number(max(values))}"
            spread = spread if len(values) > 1 else "one seed"
            return f"{number(statistics.mean(values))} ({spread})"
        case "course":
            spans = [(number(each[-1]), number(min(each)), number(max(each))) for each in values]
            return ", ".join(f"{last} ({least} to {most})" for last, least, most in spans)
        case other:
            raise UsageError(f"show = {other!r}: choose from each, mean, range, course")


class _Template(string.Formatter):
    """Text in which `{}` is the figure, `{net}` a part of the cell's name, others what runs say."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if field_name in kwargs["parts"]:
            return kwargs["parts"][field_name], field_name
        if field_name == "0":
            return args[0], field_name
        values = [run[field_name] for run in kwargs["runs"]]
        values = [value for n, value in enumerate(values) if value not in values[:n]]
        return values[0] if len(values) == 1 else ", ".join(map(str, values)), field_name


def _text(template: str, parts: Mapping[str, str], runs: list[Record], shown: str = "") -> str:
    return _Template().format(template, shown, parts=parts, runs=runs)
