"""A curve per cell: means over the seeds at each place, with their intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from bnnlab_report.blocks import Cell, Figure, Table, count, number, spread
from bnnlab_report.contents.cells import figures
from bnnlab_report.drawing.plot import Point, Series, counted
from bnnlab_report.drawing.scales import Ends
from bnnlab_report.material import Lines, Material, mean_of
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Summary
from bnnlab_studies.tables import heading

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
        below, beside: Titles of the axes.
        values: Returns those of a run, from left to right, of its record and its lines.
        measure: How its values are written: as those of this measure.
        first: Number of the first value.
        percent: Whether it is drawn in per cent.
    """

    name: str
    title: str
    about: str
    below: str
    beside: str
    values: Callable[[Record, Lines], Sequence[float | None]]
    measure: str = "accuracy"
    first: int = 1
    percent: bool = True

    def figure(self, material: Material) -> Figure | None:
        """Return the figure; None if no cell has two values."""
        means = {cell: self._means(material, cell) for cell in material.cells}
        longest = max(map(len, means.values()))
        if longest < 2:
            return None
        shown = spread(longest, max(20, PLACES // len(means)))
        its = {cell: [each[n] for n in shown if n < len(each)] for cell, each in means.items()}
        about = self.about
        if len(shown) < longest:
            about += f" {len(shown)} of {longest} {self.below} are shown."
        drawn = [cell for cell, places in its.items() if places][:CELLS]
        series = [Series(c, self._points(c, its[c]), material.looks[c]) for c in drawn]
        ends: Ends = (0, 100) if self.percent else (0, float("inf"))
        drawing = counted(series, self.below, self.beside, ends)
        return Figure(self.name, self.title, about, drawing, self._table(its))

    def _means(self, material: Material, cell: str) -> list[Place]:
        every = []
        for run in material.counted[cell]:
            with material.reading(run):
                values = self.values(run, material.metrics(run))
                mean_of(values)  # they are numbers
                every.append(values)
        found = [mean_of(values) for values in zip_longest(*every)]
        return [*enumerate(found, self.first)] if any(it.count for it in found) else []

    def _table(self, its: Mapping[str, Sequence[Place]]) -> Table:
        rows: list[list[Cell]] = [
            [cell, count(place), count(mean.count), *figures(self.measure, mean)]
            for cell, places in its.items()
            for place, mean in places
        ]
        mean = f"mean {heading(self.measure)}"
        heads = ("cell", self.below, "seeds", mean, "std", "interval from", "to")
        return Table(self.name, self.title, heads, rows)

    def _points(self, cell: str, places: Sequence[Place]) -> list[Point]:
        def drawn(value: float | None) -> float | None:
            return 100 * value if self.percent and value is not None else value

        return [
            Point(
                place,
                drawn(its.mean),
                drawn(its.low),
                drawn(its.high),
                f"{cell}, {self.below} {place}: {number(self.measure, its.mean).text}",
            )
            for place, its in places
        ]
