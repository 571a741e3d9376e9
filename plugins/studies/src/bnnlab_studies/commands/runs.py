"""`bnn runs`: a table of the runs in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bnnlab.cli.console import Json, print_file, print_json, print_out
from bnnlab.engine.figures import score_of
from bnnlab.settings.run import KINDS
from bnnlab_studies.cells import tasks_of
from bnnlab_studies.choosing import Condition, in_order
from bnnlab_studies.comparing import note
from bnnlab_studies.finding import find_records
from bnnlab_studies.record import Record, expect_names
from bnnlab_studies.tables import (
    Csv,
    csv_text,
    expect_one_format,
    heading,
    print_rows,
    text,
)

MEASURES = ("average_accuracy", "forgetting", "seconds")
"""The columns after name, status, components and seed."""

Folder = Annotated[Path, typer.Argument(help="Folder with runs in it.", metavar="FOLDER")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Show only runs with this value of a setting or measure; also != < > <= >=. May be "
        "repeated: all must hold.",
        metavar="NAME=VALUE",
    ),
]
Sort = Annotated[
    str, typer.Option("--sort", help="Sort by this; -NAME: largest first.", metavar="NAME")
]
Columns = Annotated[
    str, typer.Option("--columns", help="Show these, joined by commas.", metavar="NAME,...")
]


def runs(
    folder: Folder = Path("runs"),
    where: Where = None,
    sort: Sort = "",
    columns: Columns = "",
    json: Json = False,
    csv: Csv = False,
) -> None:
    """List the runs in a folder: settings and measures, as a table.

    A name is a setting (optimizer, optimizer.lr, seed) or a measure.

    Measures are average_accuracy, uncertainty.ece, accuracy.-1.0 and so on, as in result.json.

    Examples:
      bnn runs
      bnn runs runs/study --where optimizer=meta --sort -average_accuracy
      bnn runs --columns name,optimizer.m,average_accuracy --csv > runs.csv
    """
    expect_one_format(json, csv)
    found = find_records(folder)
    conditions = [Condition.parse(each) for each in where or ()]
    names = [name.strip() for name in columns.split(",")] if columns else []
    expect_names([each.name for each in conditions], found, "--where")
    expect_names([sort.removeprefix("-")] if sort else [], found, "--sort")
    expect_names(names, found, "--columns")
    chosen = [run for run in found if all(each.holds(run) for each in conditions)]
    chosen = in_order(chosen, sort) if sort else chosen
    rows = [{name: run.get(name) for name in names} if names else run.row() for run in chosen]
    if json:
        print_json({"runs": rows})
    elif csv:
        print_file(csv_text(rows))
    else:
        if chosen:
            _print(chosen, names)
        if len(chosen) < len(found):
            print_out(f"{len(chosen)} of {len(found)} runs")


def _print(chosen: Sequence[Record], names: list[str]) -> None:
    told = {str(kind): {run[kind] for run in chosen} - {""} for kind in KINDS}
    same = {} if names else {kind: its.pop() for kind, its in told.items() if len(its) == 1}
    kinds = " + ".join(kind for kind in told if kind not in same)
    names = names or [name for name in ("name", "status", kinds, "seed", *MEASURES) if name]
    rows = [[_value(run, name) for name in names] for run in chosen]
    score = score_of(*(run.result for run in chosen))
    texts = [[text(*each, score) for each in zip(names, row, strict=True)] for row in rows]
    heads = [heading(name, score, tasks_of(chosen)) for name in names]
    print_rows(heads, texts, _numbers(rows), _by_folder)
    if same:
        print_out(f"All: {', '.join(f'{kind} {name}' for kind, name in same.items())}.")
    if warning := note(chosen):
        print_out(warning)


def _value(run: Record, name: str) -> Any:
    """Return a setting or measure; of `rule + model` the names of both."""
    several = name.split(" + ")
    return " + ".join(run[n] for n in several if run[n]) if len(several) > 1 else run.get(name)


def _by_folder(name: str) -> tuple[str, str]:
    """Return the folder that a run's folder is in, and the run's name in it."""
    folder, slash, own = name.rpartition("/")
    return (folder + slash, f"  {own}") if slash else (name, "")


def _numbers(rows: Sequence[Sequence[Any]]) -> int:
    """Return how many of the last columns hold numbers only."""
    columns = [*zip(*rows, strict=True)]
    are = [all(it is None or type(it) in (int, float) for it in column) for column in columns]
    return next((place for place, each in enumerate(reversed(are)) if not each), len(are))
