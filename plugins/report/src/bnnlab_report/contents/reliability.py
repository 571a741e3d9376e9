"""The reliability diagram: accuracy against confidence, in bins of confidence."""

from collections import defaultdict
from statistics import fmean

from bnnlab.engine.figures import SHARE
from bnnlab_report.blocks import Cell, Figure, count, drawn, number
from bnnlab_report.contents.cells import SPREAD, figures
from bnnlab_report.drawing.plot import Point, Series, scattered
from bnnlab_report.material import Material, mean_of
from bnnlab_studies.statistics import Summary

CALIBRATED = Series("calibrated", 0, [Point(0, 0), Point(100, 100)], "reference")
HEADS = ("cell", "bin", "seeds", "examples", "confidence %", "accuracy %", *SPREAD)


Bin = tuple[int, int, float, Summary]


def figure(material: Material) -> Figure | None:
    """Return the diagram; None if no run recorded the bins of its calibration error."""
    bins = {cell: its for cell in material.cells if (its := _bins(material, cell))}
    if not bins:
        return None
    rows: list[list[Cell]] = [
        [
            cell,
            str(place),
            count(its.count),
            count(amount),
            number("accuracy", at, SHARE),
            *figures("accuracy", its, SHARE),
        ]
        for cell, found in bins.items()
        for place, amount, at, its in found
    ]
    series = [
        Series(cell, material.looks[cell], [_point(cell, each) for each in found])
        for cell, found in bins.items()
    ]
    title = "Reliability diagram"
    about = (
        "Accuracy in bins of confidence: means over the seeds. Bins with few examples say little; "
        "the data have their numbers."
    )
    drawing = scattered([*series, CALIBRATED], "confidence, %", "accuracy, %", (0, 100))
    return Figure("reliability", title, about, drawing, HEADS, rows)


def _bins(material: Material, cell: str) -> list[Bin]:
    """Return number, examples, mean confidence and accuracy of each bin that has examples."""
    found = defaultdict[int, list[tuple[int, float, float]]](list)
    for run in material.counted[cell]:
        with material.reading(run):
            its = run.get("uncertainty.reliability") or {}
            parts = (its.get(key, ()) for key in ("count", "confidence", "accuracy"))
            for place, (amount, *shares) in enumerate(zip(*parts, strict=True), start=1):
                if amount:
                    confidence, accuracy = map(float, shares)
                    found[place].append((int(amount), confidence, accuracy))
    return [
        (place, sum(amounts), fmean(confidences), mean_of("accuracy", accuracies, SHARE))
        for place, its in sorted(found.items())
        for amounts, confidences, accuracies in [[*zip(*its, strict=True)]]
    ]


def _point(cell: str, its: Bin) -> Point:
    place, amount, at, accuracy = its
    shown = number("accuracy", accuracy.mean, SHARE).text
    about = f"{cell}, bin {place}, {amount} examples: {shown}"
    ends = accuracy.mean, accuracy.low, accuracy.high
    y, low, high = (drawn("accuracy", it, SHARE) for it in ends)
    return Point(100 * at, y, low, high, about)
