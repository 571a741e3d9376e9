"""The cells compared with the first one, as `bnn compare` does it."""

from collections.abc import Sequence

from bnnlab_report.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    Folded,
    Note,
    Section,
    Table,
    count,
    drawn,
    number,
    plain,
)
from bnnlab_report.contents.cells import SPREAD
from bnnlab_report.drawing.intervals import Intervals, Row
from bnnlab_report.material import Material
from bnnlab_studies.comparing import remarks
from bnnlab_studies.statistics import Comparison
from bnnlab_studies.tables import heading_of_difference, unit_of_difference

MANY = 8
"""More remarks than this are shown on request."""
READING = (
    "difference:{points} other minus first, mean over the pairs. d_z: effect size, Cohen's. p (t): "
    "paired t-test.{holm} p (Wilcoxon): signed-rank test; least: what it cannot be below, 2 / 2^n "
    "if n pairs differ. A small p: such a difference is rare among cells that are alike. It does "
    "not say that the difference matters."
)
HOLM = " p (Holm): p (t), corrected for all comparisons of this table."


def section(material: Material) -> Section:
    """Return the section with what `bnn compare` says."""
    name, words = "comparison", "Cells compared"
    found, why = material.comparisons
    if len(material.cells) == 1:
        return Section(name, words, [Note("There is one cell: nothing to compare it with.")])
    if not found:
        return Section(name, words, [Note(f"Not compared: {why}.", is_warning=True)])
    measure, first = material.measure, found[0].first
    what, which = material.title, "the best trial" if material.best else "each cell"
    heads, rows = _compared(material, found)
    text = (
        f"{what[:1].upper()}{what[1:]} of {which} against the first one, {first}, by pairs of "
        "runs with the same seed, as `bnn compare` computes it."
    )
    about = f"Difference to {first} with its 95 % interval. The dashed line is no difference."
    drawing = _drawing(material, found)
    figure = Figure("differences", "Differences to the first cell", about, drawing, heads, rows)
    caption = f"Differences, {material.study.heading(measure)}"
    points = unit_of_difference(measure, material.score)
    reading = READING.format(points=points and f" in{points},", holm=HOLM * (len(found) > 1))
    blocks: list[Block] = [Note(text), Figures([figure])]
    blocks += [Table("comparison", caption, heads, rows), Note(reading)]
    notes = [*map(Note, remarks(found))]
    blocks += [Folded(f"{len(notes)} remarks on the pairs", notes)] if len(notes) > MANY else notes
    others = [
        cell
        for cell, its in material.protocols.items()
        if its not in ("", material.protocols[first])
    ]
    if others:
        blocks.append(Note(f"Not compared, as of another protocol: {', '.join(others)}.", True))
    return Section(name, words, blocks)


def _drawing(material: Material, found: Sequence[Comparison]) -> Intervals:
    measure, score = material.measure, material.score
    rows = [
        Row(
            each.other,
            material.looks[each.other],
            drawn(measure, each.difference, score),
            drawn(measure, each.low, score),
            drawn(measure, each.high, score),
            number(measure, each.difference, score, sign=True).text,
        )
        for each in found
    ]
    title = f"{heading_of_difference(material.study.heading(measure))}, to the first cell"
    return Intervals(rows, title, zero=True)


def _compared(
    material: Material, found: Sequence[Comparison]
) -> tuple[tuple[str, ...], list[list[Cell]]]:
    """Return the heads and rows of the table of differences and tests."""
    measure, score, holm = material.measure, material.score, len(found) > 1
    few, undefined = "too few pairs", "not defined"
    rows: list[list[Cell]] = [
        [
            each.other,
            count(len(each.seeds)),
            number(measure, each.first_mean, score, missing="no pair"),
            number(measure, each.other_mean, score, missing="no pair"),
            number(measure, each.difference, score, sign=True, missing="no pair"),
            number(measure, each.low, score, sign=True, missing=few),
            number(measure, each.high, score, sign=True, missing=few),
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
