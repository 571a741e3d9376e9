"""A curve per cell: means over the seeds at each place, with their intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from bnnlab.engine.figures import OF_SCORE, Score
from bnnlab_report.blocks import Cell, Figure, count, drawn, number, spread
from bnnlab_report.contents.cells import SPREAD, figures
from bnnlab_report.drawing.plot import Point, Series, counted
from bnnlab_report.drawing.scales import ANYTHING, MOST, Ends
from bnnlab_report.material import Lines, Material, lacking, mean_of
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Summary
from bnnlab_studies.tables import heading, is_fraction

CELLS = 12
"""The most cells that are drawn."""
PLACES = 600
"""The most places of all cells in one table, about; of longer curves some are left out."""

Place = tuple[int, Summary]


@dataclass(frozen=True)
class Curve:
    """What a curve shows.

    Attributes:
        name: Of its files.
        title: What is drawn.
        about: How to read it.
        values: Returns those of a run, from left to right, of its record and its lines.
        below: Title of the axis below.
        beside: Title of the other one; empty for the score.
        measure: How its values are written: as those of this measure.
        score: What its values are; None for what the runs report.
        first: Number of the first value.
    """

    name: str
    title: str
    about: str
    values: Callable[[Record, Lines], Sequence[float | None]]
    below: str = "task"
    beside: str = ""
    measure: str = "accuracy"
    first: int = 1
    score: Score | None = None

    def figure(self, material: Material) -> Figure | None:
        """Return the figure; None if no cell has two values."""
        means = {cell: self._means(material, cell) for cell in material.cells}
        longest = max(map(len, means.values()))
        if longest < 2:
            return None
        shown = spread(longest, max(20, PLACES // len(means)))
        its = {cell: [each[n] for n in shown if n < len(each)] for cell, each in means.items()}
        about = self.about + lacking(material, [cell for cell, places in means.items() if places])
        if len(shown) < longest:
            about += f" {len(shown)} of {longest} {self.below} are shown."
        named = [cell for cell, places in its.items() if places][:CELLS]
        score = self.score or material.score
        series = [Series(c, material.looks[c], self._points(c, its[c], score)) for c in named]
        beside = self.beside or score.name + (", %" if score.is_share else "")
        drawing = counted(series, self.below, beside, self._ends(score))
        heads = ("cell", self.below, "seeds", f"mean {heading(self.measure, score)}", *SPREAD)
        rows: list[list[Cell]] = [
            [cell, count(place), count(mean.count), *figures(self.measure, mean, score)]
            for cell, places in its.items()
            for place, mean in places
        ]
        return Figure(self.name, score.named(self.title), about, drawing, heads, rows)

    def _ends(self, score: Score) -> Ends:
        """Return what values are never beyond."""
        if is_fraction(self.measure, score):
            return (0, 100)
        return ANYTHING if self.measure in OF_SCORE else (0, MOST)

    def _means(self, material: Material, cell: str) -> list[Place]:
        every, score = [], self.score or material.score
        for run in material.counted[cell]:
            with material.reading(run):
                values = self.values(run, material.metrics(run))
                mean_of(self.measure, values, score)  # they are numbers
                every.append(values)
        found = [mean_of(self.measure, values, score) for values in zip_longest(*every)]
        return [*enumerate(found, self.first)] if any(it.count for it in found) else []

    def _points(self, cell: str, places: Sequence[Place], score: Score) -> list[Point]:
        return [
            Point(
                place,
                drawn(self.measure, its.mean, score),
                drawn(self.measure, its.low, score),
                drawn(self.measure, its.high, score),
                f"{cell}, {self.below} {place}: {number(self.measure, its.mean, score).text}",
            )
            for place, its in places
        ]
