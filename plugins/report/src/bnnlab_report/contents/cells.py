"""The means of the cells, and the cells compared with the first one."""

from collections.abc import Sequence

from bnnlab_report.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    Folded,
    Note,
    Number,
    Section,
    Table,
    count,
    drawn,
    number,
    plain,
    title,
)
from bnnlab_report.drawing.intervals import Intervals, Row
from bnnlab_report.material import Material
from bnnlab_studies.comparing import remarks
from bnnlab_studies.statistics import Comparison, Summary
from bnnlab_studies.tables import heading

CHIEF = ("average_accuracy", "learning_accuracy", "forgetting", "plasticity", "seconds")
"""Measures of the first table, after the one that the cells are judged by."""
ONE = "one seed"
"""What stands where a spread needs two values."""
SPREAD = ("std", "95 % interval from", "to")
"""Heads after that of a mean, for what `figures` returns."""
READING = (
    "difference: other minus first, mean over the pairs. d_z: effect size, Cohen's. p (t): paired "
    "t-test. p (Holm): p (t), corrected for all comparisons of this table. p (Wilcoxon): "
    "signed-rank test; least: what it cannot be below, 2 / 2^n if n pairs differ. A small p: such "
    "a difference is rare among cells that are alike. It does not say that the difference matters."
)


def section(material: Material) -> Section:
    """Return the section on the cells' means."""
    measured = [name for name in material.study.measures if _is_told(material, name)]
    if not measured:
        return Section("cells", "Cells", [Note("No run is complete: there are no means yet.")])
    others = [name for name in CHIEF if name in measured and name != material.measure]
    heads = ["cell", "seeds", heading(material.measure), *SPREAD, *map(heading, others)]
    rows = [
        [
            *_mean(material, cell, material.measure),
            *(number(name, material.summary(cell, name).mean) for name in others),
        ]
        for cell in material.cells
    ]
    about = "std: standard deviation over the seeds. The interval of the mean is by Student's t."
    if len({*material.protocols.values()} - {""}) > 1:
        about += " Compare only where the protocol is equal."
    blocks: list[Block] = [
        Note(about),
        Table("cells", "Means over the seeds of each cell", heads, rows, len(rows) > 5),
        Folded("All measures, with the value of each seed", [_all(material, measured)]),
    ]
    return Section("cells", "Cells", blocks)


def _is_told(material: Material, name: str) -> bool:
    return any(run.get(name) is not None for runs in material.counted.values() for run in runs)


def _mean(material: Material, cell: str, measure: str) -> list[Cell]:
    its = material.summary(cell, measure)
    return [cell, count(its.count), *figures(measure, its)]


def figures(measure: str, its: Summary) -> list[Number]:
    """Return mean, standard deviation and ends of the interval."""
    missing = ONE if its.count == 1 else "not measured"
    return [
        number(measure, its.mean),
        number(measure, its.std, digits=2, missing=missing),
        number(measure, its.low, missing=missing),
        number(measure, its.high, missing=missing),
    ]


def _all(material: Material, measured: Sequence[str]) -> Table:
    seeds = sorted({run["seed"] for runs in material.counted.values() for run in runs})
    rows: list[list[Cell]] = []
    for name in measured:
        for cell in material.cells:
            values = material.values(cell, name)
            each = [number(name, values.get(seed)) for seed in seeds]
            rows.append([heading(name), *_mean(material, cell, name), *each])
    heads = ("measure", "cell", "seeds", "mean", *SPREAD, *(f"seed {seed}" for seed in seeds))
    return Table("measures", "All measures", heads, rows, True)


def comparison(material: Material) -> Section:
    """Return the section with what `bnn compare` says."""
    name, words = "comparison", "Cells compared"
    found, why = material.comparisons
    if len(material.cells) == 1:
        return Section(name, words, [Note("There is one cell: nothing to compare it with.")])
    if not found:
        return Section(name, words, [Note(f"Not compared: {why}.", is_warning=True)])
    measure, first = material.measure, found[0].first
    which = "the best trial" if material.best else "each cell"
    heads, rows = _compared(measure, found)
    text = (
        f"{title(measure).capitalize()} of {which} against the first one, {first}, by pairs of "
        "runs with the same seed, as `bnn compare` computes it."
    )
    about = f"Difference to {first} with its 95 % interval. The dashed line is no difference."
    drawing = _drawing(material, found)
    figure = Figure("differences", "Differences to the first cell", about, drawing, heads, rows)
    caption = f"Differences of {heading(measure)}, and tests"
    blocks: list[Block] = [Note(text), Figures([figure])]
    blocks += [Table("comparison", caption, heads, rows, len(rows) > 5), Note(READING)]
    blocks += map(Note, remarks(found))
    others = [
        cell
        for cell, its in material.protocols.items()
        if its not in ("", material.protocols[first])
    ]
    if others:
        blocks.append(Note(f"Not compared, as of another protocol: {', '.join(others)}.", True))
    return Section(name, words, blocks)


def _drawing(material: Material, found: Sequence[Comparison]) -> Intervals:
    measure = material.measure
    rows = [
        Row(
            each.other,
            material.looks[each.other],
            drawn(measure, each.difference),
            drawn(measure, each.low),
            drawn(measure, each.high),
            number(measure, each.difference, sign=True).text,
        )
        for each in found
    ]
    return Intervals(rows, f"{heading(measure)}, minus that of the first cell", zero=True)


def _compared(
    measure: str, found: Sequence[Comparison]
) -> tuple[tuple[str, ...], list[list[Cell]]]:
    """Return the heads and rows of the table of differences and tests."""
    holm = len(found) > 1
    few, undefined = "too few pairs", "not defined"
    rows: list[list[Cell]] = [
        [
            each.other,
            count(len(each.seeds)),
            number(measure, each.first_mean, missing="no pair"),
            number(measure, each.other_mean, missing="no pair"),
            number(measure, each.difference, sign=True, missing="no pair"),
            number(measure, each.low, sign=True, missing=few),
            number(measure, each.high, sign=True, missing=few),
            plain(each.effect, missing=undefined),
            plain(each.p_t, missing=undefined),
            *[plain(each.p_holm, missing=undefined)] * holm,
            plain(each.p_wilcoxon, missing=undefined),
            plain(each.p_least, missing=undefined),
        ]
        for each in found
    ]
    sizes = ("cell", "pairs", "first", "other", "difference", *SPREAD[1:], "d_z")
    return (*sizes, "p (t)", *["p (Holm)"] * holm, "p (Wilcoxon)", "least"), rows
