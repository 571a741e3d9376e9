"""The means of the cells, and the cells compared with the first one."""

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


def section(material: Material) -> Section:
    """Return the section on the cells' means."""
    measured = material.study.measures
    chief = [name for name in CHIEF if name in measured and _is_told(material, name)]
    shown = [*dict.fromkeys([material.measure, *chief])] if measured else []
    heads = ["cell", "seeds", heading(material.measure), "std", "95 % interval from", "to"]
    heads += map(heading, shown[1:])
    rows = [_row(material, cell, shown) for cell in material.cells] if shown else []
    if not rows:
        return Section("cells", "Cells", [Note("No run is complete: there are no means yet.")])
    about = "std: standard deviation over the seeds. The interval of the mean is by Student's t."
    if len({*material.protocols.values()} - {""}) > 1:
        about += " Compare only where the protocol is equal."
    blocks: list[Block] = [
        Note(about),
        Table("cells", "Means over the seeds of each cell", heads, rows, len(rows) > 5),
        Folded("All measures, with the value of each seed", [_all_measures(material)]),
    ]
    return Section("cells", "Cells", blocks)


def _is_told(material: Material, name: str) -> bool:
    return any(run.get(name) is not None for runs in material.counted.values() for run in runs)


def _row(material: Material, cell: str, shown: list[str]) -> list[Cell]:
    first, *others = shown
    its = material.summary(cell, first)
    means = [number(name, material.summary(cell, name).mean) for name in others]
    return [cell, count(its.count), *figures(first, its), *means]


def figures(measure: str, its: Summary) -> list[Number]:
    """Return mean, standard deviation and ends of the interval."""
    missing = ONE if its.count == 1 else "not measured"
    return [
        number(measure, its.mean),
        number(measure, its.std, digits=2, missing=missing),
        number(measure, its.low, missing=missing),
        number(measure, its.high, missing=missing),
    ]


def _all_measures(material: Material) -> Table:
    seeds = sorted({run["seed"] for runs in material.counted.values() for run in runs})
    rows: list[list[Cell]] = []
    for name in material.study.measures:
        if not _is_told(material, name):
            continue
        for cell in material.cells:
            values = material.values(cell, name)
            its = material.summary(cell, name)
            each = [number(name, values.get(seed)) for seed in seeds]
            rows.append([heading(name), cell, count(its.count), *figures(name, its), *each])
    heads = ("measure", "cell", "n", "mean", "std", "interval from", "to")
    return Table(
        "measures", "All measures", (*heads, *(f"seed {seed}" for seed in seeds)), rows, True
    )


def comparison(material: Material) -> Section:
    """Return the section with what `bnn compare` says."""
    name, words = "comparison", "Cells compared"
    found, why = material.comparisons
    if len(material.cells) == 1:
        return Section(name, words, [Note("There is one cell: nothing to compare it with.")])
    if not found:
        return Section(name, words, [Note(f"Not compared: {why}.", is_warning=True)])
    measure = material.measure
    blocks: list[Block] = [
        Note(
            f"{title(measure).capitalize()} of each cell against the first one, {found[0].first}, "
            "by pairs of runs with the same seed, as `bnn compare` computes it."
        ),
        Figures([_drawn(material, found)]),
        _sizes(measure, found),
        _tests(found),
        Note(
            "difference: other minus first, mean over the pairs. d_z: effect size, Cohen's. "
            "p (t): paired t-test. p (Holm): p (t), corrected for all comparisons of this table. "
            "p (Wilcoxon): signed-rank test; least: what it cannot be below, 2 / 2^n if n pairs "
            "differ. A small p says that there is a difference, not that it matters."
        ),
        *map(Note, remarks(found)),
    ]
    protocol = material.protocols[found[0].first]
    others = [cell for cell, its in material.protocols.items() if its not in ("", protocol)]
    if others:
        blocks.append(Note(f"Not compared, as of another protocol: {', '.join(others)}.", True))
    return Section(name, words, blocks)


def _drawn(material: Material, found: list[Comparison]) -> Figure:
    measure = material.measure
    unit = 100 if heading(measure).endswith(" %") else 1
    rows = [
        Row(
            each.other,
            _times(each.difference, unit),
            _times(each.low, unit),
            _times(each.high, unit),
            number(measure, each.difference, sign=True).text,
            material.looks[each.other],
        )
        for each in found
    ]
    first = found[0].first
    drawing = Intervals(rows, f"{heading(measure)}, minus that of the first cell", zero=True)
    about = f"Difference to {first} with its 95 % interval. The dashed line is no difference."
    name = "Differences to the first cell"
    return Figure("differences", name, about, drawing, _sizes(measure, found, "difference-data"))


def _times(value: float | None, unit: int) -> float | None:
    return None if value is None else unit * value


def _sizes(measure: str, found: list[Comparison], name: str = "comparison-sizes") -> Table:
    rows: list[list[Cell]] = [
        [
            each.other,
            count(len(each.seeds)),
            number(measure, each.first_mean, missing="no pair"),
            number(measure, each.other_mean, missing="no pair"),
            number(measure, each.difference, sign=True, missing="no pair"),
            number(measure, each.low, sign=True, missing="too few pairs"),
            number(measure, each.high, sign=True, missing="too few pairs"),
            plain(each.effect, missing="not defined"),
        ]
        for each in found
    ]
    heads = ("cell", "pairs", "first", "other", "difference", "interval from", "to", "d_z")
    return Table(name, f"Differences of {heading(measure)}", heads, rows)


def _tests(found: list[Comparison]) -> Table:
    several = len(found) > 1
    rows: list[list[Cell]] = [
        [
            each.other,
            plain(each.p_t, missing="not defined"),
            *[plain(each.p_holm, missing="not defined")] * several,
            plain(each.p_wilcoxon, missing="not defined"),
            plain(each.p_least, missing="not defined"),
        ]
        for each in found
    ]
    heads = ("cell", "p (t)", *["p (Holm)"] * several, "p (Wilcoxon)", "least")
    return Table("comparison-tests", "Tests", heads, rows)
