"""The means of the cells."""

from collections.abc import Sequence

from bnnlab.engine.figures import Score
from bnnlab_report.blocks import Block, Cell, Folded, Note, Number, Section, Table, count, number
from bnnlab_report.material import Material
from bnnlab_studies.statistics import Summary

CHIEF = ("average_accuracy", "learning_accuracy", "forgetting", "plasticity", "seconds")
"""Measures of the first table, after the one that the cells are judged by."""
ONE = "one seed"
"""What stands where a spread needs two values."""
SPREAD = ("std", "95 % interval from", "to")
"""Heads after that of a mean, for what `figures` returns."""


def section(material: Material) -> Section:
    """Return the section on the cells' means."""
    measured = [name for name in material.study.measures if _is_told(material, name)]
    if not measured:
        return Section("cells", "Cells", [Note("No run is complete: there are no means yet.")])
    others = [name for name in CHIEF if name in measured and name != material.measure]
    mean = material.study.heading(material.measure)
    heads = ["cell", "seeds", mean, *SPREAD, *map(material.study.heading, others)]
    rows = [
        [
            *mean_row(material, cell, material.measure),
            *(number(name, material.summary(cell, name).mean, material.score) for name in others),
        ]
        for cell in material.cells
    ]
    about = "std: standard deviation over the seeds. The interval of the mean is by Student's t, "
    about += "cut where no mean can be."
    if len({*material.protocols.values()} - {""}) > 1:
        about += " Compare only where the protocol is equal."
    blocks: list[Block] = [
        Note(about),
        Table("cells", "Means over the seeds of each cell", heads, rows),
        Folded("All measures, with the value of each seed", [_all(material, measured)]),
    ]
    return Section("cells", "Cells", blocks)


def _is_told(material: Material, name: str) -> bool:
    return any(run.get(name) is not None for runs in material.counted.values() for run in runs)


def mean_row(material: Material, cell: str, measure: str) -> list[Cell]:
    """Return a cell's name, how many seeds it has, and the `figures` of its mean."""
    its = material.summary(cell, measure)
    return [cell, count(its.count), *figures(measure, its, material.score)]


def figures(measure: str, its: Summary, score: Score) -> list[Number]:
    """Return mean, standard deviation and ends of the interval."""
    missing = ONE if its.count == 1 else "not measured"
    return [
        number(measure, its.mean, score),
        number(measure, its.std, score, digits=2, missing=missing),
        number(measure, its.low, score, missing=missing),
        number(measure, its.high, score, missing=missing),
    ]


def _all(material: Material, measured: Sequence[str]) -> Table:
    seeds = sorted({run["seed"] for runs in material.counted.values() for run in runs})
    rows: list[list[Cell]] = []
    for name in measured:
        for cell in material.cells:
            values = material.values(cell, name)
            each = [number(name, values.get(seed), material.score) for seed in seeds]
            rows.append([material.study.heading(name), *mean_row(material, cell, name), *each])
    heads = ("measure", "cell", "seeds", "mean", *SPREAD, *(f"seed {seed}" for seed in seeds))
    return Table("measures", "All measures", heads, rows)
