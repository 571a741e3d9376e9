"""`bnn compare`: cells of runs with the first of them, by pairs of seeds."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.console import Json, print_file, print_json, print_out
from bnnlab_studies.comparing import (
    differences,
    differences_said,
    protocols,
    remarks,
    versions,
    weakness,
)
from bnnlab_studies.gathering import gather
from bnnlab_studies.statistics import Comparison
from bnnlab_studies.study import MEASURE, Study
from bnnlab_studies.tables import (
    Csv,
    csv_text,
    cut_note,
    expect_one_format,
    interval,
    p_value,
    print_rows,
    text,
    unit_of_difference,
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
    if weak := weakness(found):
        log.warning(weak)
    if csv:
        print_file(csv_text(rows))
        return
    first, *others = protocols(study).items()
    if json:
        differing = {name: differences(first[1], other) for name, other in others}
        print_json({"measure": measure, "comparisons": rows, "protocols": differing})
        return
    _print_sizes(found, measure, study)
    _print_tests(found, unit_of_difference(measure, study.score))
    cut = cut_note(((measure, each) for each in found), study.score, study.units)
    for each in [*filter(None, [cut]), *remarks(found)]:
        print_out(each, soft_wrap=True)
    if told := versions(study):
        print_out(told)
    for name, other in others:
        _print_protocols(first[0], name, differences_said(first[1], other))


def _print_sizes(found: Sequence[Comparison], measure: str, study: Study) -> None:
    name, score = study.heading(measure), study.score
    print_out(f"{name}: each cell is compared with the first one, {found[0].first}")
    print_out()
    heads = ("cell", "pairs", "first", "other", "difference", "95 % interval", "d_z")
    rows = [
        (
            each.other,
            str(len(each.seeds)),
            text(measure, each.first_mean, score),
            text(measure, each.other_mean, score),
            text(measure, each.difference, score, sign=True),
            interval(measure, each, score, sign=True, units=study.units),
            "-" if each.effect is None else f"{each.effect:.2f}",
        )
        for each in found
    ]
    print_rows(heads, rows, numbers=6)


def _print_tests(found: Sequence[Comparison], unit: str) -> None:
    several = len(found) > 1
    heads = ["cell", "p (t)", *["p (Holm)"] * several, "p (Wilcoxon)", "least"]
    rows = [
        [
            each.other,
            p_value(each.p_t),
            *[p_value(each.p_holm)] * several,
            p_value(each.p_wilcoxon),
            p_value(each.p_least),
        ]
        for each in found
    ]
    print_out()
    print_rows(heads, rows, numbers=len(heads) - 1)
    print_out()
    of = f"in{unit}, " if unit else ""
    print_out(f"difference: {of}other minus first, mean over the pairs. d_z: effect size")
    print_out("p (t): paired t-test. p (Wilcoxon): signed-rank test")
    print_out("least: what p (Wilcoxon) cannot be below, 2 / 2^n if n pairs differ")
    if several:
        tests = sum(each.p_t is not None for each in found)
        print_out(f"p (Holm): p (t), {tests} of them corrected together. The others are not")


def _print_protocols(first: str, other: str, found: Sequence[str]) -> None:
    print_out()
    print_out(f"the protocols {first} and {other} differ:")
    for each in found[:MOST]:
        print_out(f"  {each}", soft_wrap=True)
    if len(found) > MOST:
        print_out(f"and {len(found) - MOST} more: --json has all")
