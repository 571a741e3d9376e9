"""`bnn compare`: cells of runs with the first of them, by pairs of seeds."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bnnlab.cli.console import Json, print_file, print_json, print_out, print_table
from bnnlab.errors import UsageError
from bnnlab.settings.text import written
from bnnlab_studies.comparing import differences, protocols, versions
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import FEW, Comparison
from bnnlab_studies.study import MEASURE, Study
from bnnlab_studies.tables import (
    Csv,
    csv_text,
    expect_one_format,
    heading,
    interval,
    print_rows,
    text,
)

log = logging.getLogger("bnnlab.studies")

MOST = 20  # differences of protocols that are printed

Cells = Annotated[
    list[Path],
    typer.Argument(
        help="Runs, folders of runs that differ in the seed, or a study's folder. Each cell is "
        "compared with the first one.",
        metavar="CELL...",
    ),
]
Measure = Annotated[str, typer.Option("--measure", help="What to compare.", metavar="NAME")]
Across = Annotated[
    bool,
    typer.Option(
        "--across-protocols",
        help="Compare runs of different protocols, too, and print where the protocols differ.",
    ),
]


def compare(
    cells: Cells,
    measure: Measure = MEASURE,
    across_protocols: Across = False,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """Compare each cell of runs with the first one, by pairs of runs with the same seed.

    Prints the difference of each with its 95 % interval, and the p-values of two tests.

    The first cell of a study is the first one of its sweep file.

    To compare with another cell, name folders of cells, and its folder first.

    Examples:
      bnn compare runs/adam runs/meta

      bnn compare runs/study --measure forgetting

      bnn compare runs/study/CELL runs/study/OTHER
    """
    expect_one_format(json, csv)
    study = gather(cells)
    found = study.compare(measure, across_protocols)
    rows = [asdict(each) for each in found]
    fewest = min(len(each.seeds) for each in found if each.seeds)
    if fewest < FEW:
        log.warning("pairs: %s. Below %s, intervals are wide and tests are weak", fewest, FEW)
    if csv:
        print_file(csv_text(rows))
        return
    first, *others = protocols(study).items()
    differing = {name: differences(first[1], other) for name, other in others}
    if json:
        print_json({"measure": measure, "comparisons": rows, "protocols": differing})
        return
    _print_sizes(found, measure)
    _print_tests(found)
    _print_notes(found)
    if told := versions(study):
        print_out(told)
    for name, every in differing.items():
        _print_protocols(first[0], name, every)


def gather(places: Sequence[Path]) -> Study:
    """Return the cells of several places as one study, in their order.

    A place that holds one cell gives it its name.

    Raises:
        UsageError: If a place holds no run, or a run is given twice.
    """
    studies = [Study.read(place) for place in places]
    labels = [_label(place, study) for place, study in zip(places, studies, strict=True)]
    if len({*labels}) < len(labels):
        labels = [str(place) for place in places]
    runs: list[Record] = []
    for number, (label, study) in enumerate(zip(labels, studies, strict=True)):
        if label in labels[:number]:
            raise UsageError(f"{label} is given twice")
        for cell, its in study.cells.items():
            inner = cell if len(places) == 1 else f"{label}: {cell}"
            name = label if len(study.cells) == 1 else inner
            runs += [replace(run, cell=name, name=str(run.folder or run.name)) for run in its]
    _expect_once(runs)
    return Study(runs)


def _expect_once(runs: Sequence[Record]) -> None:
    seen = set[Path]()
    for place in (run.folder.resolve() for run in runs if run.folder):
        if place in seen:
            raise UsageError(f"{place} is in two cells: a run is not compared with itself")
        seen.add(place)


def _label(place: Path, study: Study) -> str:
    return study[0].cell if place.is_file() else study.name


def _print_sizes(found: Sequence[Comparison], measure: str) -> None:
    print_out(f"{heading(measure)}: each cell is compared with the first one, {found[0].first}")
    print_out()
    heads = ("cell", "pairs", "first", "other", "difference", "95 % interval", "d_z")
    rows = [
        (
            each.other,
            str(len(each.seeds)),
            text(measure, each.first_mean),
            text(measure, each.other_mean),
            text(measure, each.difference, sign=True),
            interval(measure, each, sign=True),
            "-" if each.effect is None else f"{each.effect:.2f}",
        )
        for each in found
    ]
    print_rows(heads, rows, numbers=6)


def _print_tests(found: Sequence[Comparison]) -> None:
    several = len(found) > 1
    heads = ["cell", "p (t)", *["p (Holm)"] * several, "p (Wilcoxon)", "least"]
    rows = [
        [
            each.other,
            _p(each.p_t),
            *[_p(each.p_holm)] * several,
            _p(each.p_wilcoxon),
            _p(each.p_least),
        ]
        for each in found
    ]
    print_out()
    print_rows(heads, rows, numbers=len(heads) - 1)
    print_out()
    print_out("difference: other minus first, mean over the pairs. d_z: effect size")
    print_out("p (t): paired t-test. p (Wilcoxon): signed-rank test")
    print_out("least: what p (Wilcoxon) cannot be below, 2 / 2^n if n pairs differ")
    if several:
        tests = sum(each.p_t is not None for each in found)
        print_out(f"p (Holm): p (t), {tests} of them corrected together. The others are not")


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _print_notes(found: Sequence[Comparison]) -> None:
    notes = [f"{each.other}: {each.note}" for each in found if each.note]
    of_seeds: dict[tuple[int, ...], list[str]] = {}
    for each in found:
        if each.seeds:
            of_seeds.setdefault(each.seeds, []).append(each.other)
    for seeds, cells in of_seeds.items():
        whose = "" if len(of_seeds) == 1 else f" of {', '.join(cells)}"
        notes.append(f"pairs{whose}: seeds {', '.join(map(str, seeds))}")
    reasons = dict.fromkeys(reason for each in found for reason in each.left_out)
    for note in [*notes, *(f"left out: {reason}" for reason in reasons)]:
        print_out(note, soft_wrap=True)


def _print_protocols(first: str, other: str, found: Sequence[Mapping[str, Any]]) -> None:
    print_out()
    print_out(f"the protocols {first} and {other} differ:")
    entries = [["-" if it is None else written(it) for it in each.values()] for each in found]
    print_table(("entry", first, other), entries[:MOST])
    if len(found) > MOST:
        print_out(f"and {len(found) - MOST} more: --json has all")
