"""The tables of a page of docs/results, in Markdown, from the runs of its study.

    python benchmarks/results.py NAME [--runs FOLDER [--keep]]

NAME is a study: `family` is docs/results/family/study.toml, and `vit/tuning` is
docs/results/vit/tuning.toml. Its results are kept beside it, one CELL-SEED.json per run. With
--runs they are read from a folder that `bnn sweep` made; --keep copies them from there first.
docs/results/README.md says how a study file describes its tables.
"""

import argparse
import json
import re
import shutil
import statistics
import string
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnnlab import PluginHost, UsageError
from bnnlab.engine.continual import recent_accuracy
from bnnlab.storage.folder import CONFIG, RESULT
from bnnlab.storage.rows import unpacked
from bnnlab_studies.plan import Cell, Plan, make_plan
from bnnlab_studies.record import Record

HOME = Path(__file__).parents[1] / "docs" / "results"
Described = Mapping[str, Any]
"""A table or a column, as the study file describes it."""
Cells = Mapping[str, list[Record]]
"""The complete runs of each cell by its name, in the order of the study and of the seeds."""
MISSING = "-"
"""Stands for a measure that no run has."""
Row = tuple[dict[str, str], list[Record]]
"""The parts of a cell's name, and its runs."""


def tables(described: Iterable[Described], cells: Cells) -> Iterator[str]:
    """Yield the lines of all tables that have rows, with an empty line after each."""
    for table in described:
        columns = table["columns"]
        for rows in _groups(table, _rows(table, cells)):
            every = [run for _, runs in rows for run in runs]
            if title := _text(table.get("title", ""), {}, every):
                yield from (title, "")
            yield _line(column["heading"] for column in columns)
            yield f"|{'---|' * len(columns)}"
            for row in rows:
                yield _line(_entry(table, column, *row, cells) for column in columns)
            yield ""


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _rows(table: Described, cells: Cells) -> Iterator[Row]:
    """Yield the cells that the table shows. None is compared with itself (`minus`)."""
    wanted = table.get("cells", "{cell}")
    patterns = [_pattern(each) for each in ([wanted] if isinstance(wanted, str) else wanted)]
    for cell, runs in cells.items():
        fits = next((fit for pattern in patterns if (fit := pattern.fullmatch(cell))), None)
        if fits is None or not runs:
            continue
        parts = {**fits.groupdict(), "cell": cell}
        if all(column.get("minus", "").format(**parts) != cell for column in table["columns"]):
            for shown in [[run] for run in runs] if table.get("each_seed") else [runs]:
                yield parts, shown


def _pattern(template: str) -> re.Pattern[str]:
    """Return what finds the parts of a name: `{rule}-{m}` fits `bp-0.5`."""
    texts, names = (re.split(r"\{(\w+)\}", template)[start::2] for start in (0, 1))
    groups = [*(f"(?P<{name}>.+?)" for name in names), ""]
    return re.compile(
        "".join(re.escape(text) + group for text, group in zip(texts, groups, strict=True))
    )


def _groups(table: Described, rows: Iterable[Row]) -> Iterable[list[Row]]:
    """Return the rows of each table: one, or one per value of what `by` names."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[1][0][table["by"]] if "by" in table else None, []).append(row)
    return groups.values()


def _entry(
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
    found = [_at(run.result, column["measure"].split(".")) for run in runs]
    return [value for value in found if value not in (None, [])]


def _differences(column: Described, runs: list[Record], without: list[Record]) -> list[float]:
    """Return the difference of each run from the one of the same seed."""
    plain = {run["seed"]: run for run in without}
    pairs = [_values(column, (run, plain[run["seed"]])) for run in runs if run["seed"] in plain]
    return [pair[0] - pair[1] for pair in pairs if len(pair) == 2]


def _at(place: Any, path: Sequence[str]) -> Any:
    """Follow a path: names, positions in lists, `*` for all of a list, `2:` and `:2` for some.

    Returns:
        What is there, or None.
    """
    if not path:
        return place
    step, *rest = path
    if isinstance(place, Mapping):
        return _at(place.get(step), rest)
    if not isinstance(place, list):
        return None
    if step == "*" or ":" in step:
        start, _, end = step.partition(":")
        some = slice(int(start) if start.isdigit() else None, int(end) if end else None)
        return [_at(each, rest) for each in place[some]]
    position = int(step)
    return _at(place[position], rest) if -len(place) <= position < len(place) else None


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


Place = Callable[[Cell, int], Path]
"""Where the run of a cell and a seed is, or its result."""


def cells_of(plan: Plan, place: Place) -> Cells:
    """Return the complete runs of each cell."""
    return {
        cell.name: [run for seed in plan.seeds if (run := _read(place(cell, seed), cell, seed))]
        for cell in plan.cells
    }


def _read(place: Path, cell: Cell, seed: int) -> Record | None:
    """Read a run's folder or a kept result; None if it is not there, or not complete."""
    if place.is_file():
        settings = {**cell.settings, "seed": seed}
        result = json.loads(place.read_text(), object_hook=unpacked)
        run = Record(place.stem, None, result.get("status", "complete"), settings, result)
    elif (place / CONFIG).exists():
        run = Record.read(place)
    else:
        return None
    return replace(run, result=_with_more(run.result)) if run.is_complete else None


def _with_more(result: Mapping[str, Any]) -> dict[str, Any]:
    """Add the measures that only tables have."""
    if "validation_accuracy" in result:  # all that was kept of tuning before `evaluate_on`
        return {"average_accuracy": result["validation_accuracy"], "protocol": ""}
    ends = range(1, len(result["accuracy"]) + 1)
    recent = [recent_accuracy(result["accuracy"][:end]) for end in ends]
    return {**result, "recent": recent, "minutes": result["seconds"] / 60}


def keep(study: Plan, kept: Place, made: Plan) -> None:
    """Copy the complete results of a folder that `bnn sweep` made; nothing else is kept.

    Raises:
        UsageError: If a cell has other settings than in the study.
    """
    cells = {cell.digest: cell for cell in study.cells}
    for cell in made.cells:
        if cell.digest not in cells:
            raise UsageError(f"{made.folder}: cell {cell.name!r} has other settings than the study")
        for seed in made.seeds:
            if _read(made.place(cell, seed), cell, seed):
                shutil.copyfile(made.place(cell, seed) / RESULT, kept(cells[cell.digest], seed))


def study_of(name: str) -> tuple[Plan, Place]:
    """Return a study by its name, and where its results are kept."""
    folder, _, stem = name.partition("/")
    file = HOME / folder / f"{stem or 'study'}.toml"
    apart = file.with_suffix("")  # as `tuning` beside tuning.toml
    kept = apart if apart.is_dir() else file.parent
    return make_plan(PluginHost(), file), lambda cell, seed: kept / f"{cell.folder}-{seed}.json"


def main() -> None:
    """Print the tables of a study, and keep its results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the study, as family or vit/tuning")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="that `bnn sweep` made")
    parser.add_argument("--keep", action="store_true", help="copy the results of its runs first")
    arguments = parser.parse_args()
    if arguments.keep and not arguments.runs:
        parser.error("--keep copies from the folder of --runs")
    try:
        study, place = study_of(arguments.name)
        plan = study
        if arguments.runs:
            plan = make_plan(PluginHost(), arguments.runs)
            if arguments.keep:
                keep(study, place, plan)
            place = plan.place
        described = study.table if isinstance(study.table, list) else [study.table]
        lines = [*tables(described, cells_of(plan, place))]
        if not lines:
            raise UsageError(f"{arguments.name}: no complete run is there; `bnn sweep` makes them")
        print(*lines, sep="\n", end="")
    except UsageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
