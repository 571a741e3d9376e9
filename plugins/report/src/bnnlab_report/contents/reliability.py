"""The reliability diagram: accuracy against confidence, in bins of confidence."""

from bnnlab_report.blocks import Cell, Figure, Table, count, number
from bnnlab_report.contents.cells import figures
from bnnlab_report.drawing.plot import Point, Series, scattered
from bnnlab_report.material import Material, mean_of
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Summary

CALIBRATED = Series("calibrated", [Point(0, 0), Point(100, 100)], 0, "reference")
HEADS = ("cell", "bin", "seeds", "confidence %", "accuracy %", "std", "interval from", "to")


def figure(material: Material) -> Figure | None:
    """Return the diagram; None if no run recorded the bins of its calibration error."""
    bins = {cell: _bins(runs) for cell, runs in material.counted.items()}
    rows: list[list[Cell]] = [
        [cell, str(place), count(its.count), number("accuracy", at), *figures("accuracy", its)]
        for cell, found in bins.items()
        for place, at, its in found
    ]
    if not rows:
        return None
    series = [
        Series(cell, [_point(cell, *each) for each in found], material.looks[cell])
        for cell, found in bins.items()
        if found
    ]
    title, about = "Reliability diagram", "Accuracy in bins of confidence: means over the seeds."
    drawing = scattered([*series, CALIBRATED], "confidence, %", "accuracy, %", (0, 100))
    return Figure("reliability", title, about, drawing, Table("reliability", title, HEADS, rows))


def _bins(runs: list[Record]) -> list[tuple[int, float, Summary]]:
    """Return number, mean confidence and accuracy of each bin in which a run has examples."""
    path = "uncertainty.reliability"
    size = max((len(run.get(f"{path}.count") or ()) for run in runs), default=0)
    found = []
    for place in range(size):
        confidence, accuracy = (
            mean_of([run.get(f"{path}.{key}.{place}") for run in runs])
            for key in ("confidence", "accuracy")
        )
        if confidence.mean is not None:
            found.append((place + 1, confidence.mean, accuracy))
    return found


def _point(cell: str, place: int, at: float, its: Summary) -> Point:
    y, low, high = (None if end is None else 100 * end for end in (its.mean, its.low, its.high))
    return Point(
        100 * at, y, low, high, f"{cell}, bin {place}: {number('accuracy', its.mean).text}"
    )
