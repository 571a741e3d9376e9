"""Lines with intervals, steps and dots between two axes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from bnnlab_report.drawing.looks import Named
from bnnlab_report.drawing.scales import ANYTHING, Ends, Scale, nice, whole

WIDTH, LEFT, RIGHT, TOP, HEIGHT = 420, 46, 10, 24, 224
"""Of the drawing; the room beside its axes; and where the lower axis is."""
LEGEND, LINE = 34, 17
"""From the lower axis to the first line of the legend, and from line to line."""
MARKED = 30
"""With more points than this, a line has no markers."""

Place = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """A value at a place, with the ends of its interval, where there is one; and what it is."""

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None
    about: str = ""


@dataclass(frozen=True)
class Series(Named):
    """Points that belong together.

    Attributes:
        points: From left to right.
        form: `line`; `steps`, a histogram; `before`, one that it is to be compared with; `dots`; or
            `reference`, a line without marks.
    """

    points: Sequence[Point]
    form: str = "line"

    @property
    def style(self) -> str:
        """Class of its line."""
        return "reference" if self.form in ("before", "reference") else f"line look{self.colour}"

    @property
    def runs(self) -> list[list[Point]]:
        """Its points that have values, cut where one has none."""
        its = groupby(self.points, lambda point: point.y is not None)
        return [[*run] for there, run in its if there]

    @property
    def marked(self) -> Iterator[Point]:
        """Points with a marker; of many, those that no line leads to."""
        has_all = self.form in ("line", "dots") and len(self.points) <= MARKED
        return (point for run in self.runs if has_all or len(run) == 1 for point in run)


@dataclass(frozen=True)
class Plot:
    """Series between two axes."""

    series: Sequence[Series]
    x: Scale
    y: Scale
    x_title: str
    y_title: str
    kind: str = "plot"

    width = WIDTH
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT
    legend, step = HEIGHT + LEGEND, LINE

    @property
    def height(self) -> int:
        """Of the drawing, with the legend."""
        return self.legend + LINE * len(self.series) + 8

    def line(self, series: Series) -> str:
        """Return the path of a series' line."""
        path = _steps if series.form in ("before", "steps") else _line
        return "".join(
            path([(self.x(p.x), self.y(p.y)) for p in run if p.y is not None])
            for run in series.runs
        )

    def area(self, series: Series) -> str:
        """Return the path around a series' intervals."""
        return "".join(map(self._area, series.runs)) if series.form == "line" else ""

    def _area(self, points: Sequence[Point]) -> str:
        """Return the path around all intervals; a single one is a line."""
        found = [
            (self.x(p.x), self.y(p.low), self.y(p.high))
            for p in points
            if p.low is not None and p.high is not None
        ]
        if len(found) == 1:
            ((x, low, high),) = found
            found = [(x - 3, low, high), (x + 3, low, high)]
        there, back = [(x, high) for x, _, high in found], [(x, low) for x, low, _ in found]
        return _line([*there, *reversed(back)]) + "z" if found else ""


def _line(places: Sequence[Place]) -> str:
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in places)


def _steps(places: Sequence[Place]) -> str:
    (x, y), *rest = places
    return f"M{x:g},{y:g}" + "".join(f"H{x:g}V{y:g}" for x, y in rest)


def counted(series: Sequence[Series], x_title: str, y_title: str, within: Ends) -> Plot:
    """Return series over whole numbers; intervals are cut at the ends of what is possible."""
    places = [int(point.x) for each in series for point in each.points]
    x = whole(min(places), max(places), LEFT, WIDTH - RIGHT)
    return Plot(series, x, _upright(series, within), x_title, y_title)


def scattered(
    series: Sequence[Series], x_title: str, y_title: str, within: Ends = ANYTHING
) -> Plot:
    """Return series over any numbers."""
    xs = [point.x for each in series for point in each.points]
    x = nice(xs, LEFT + 6, WIDTH - RIGHT - 6)
    return Plot(series, x, _upright(series, within), x_title, y_title)


def _upright(series: Sequence[Series], within: Ends) -> Scale:
    points = [point for each in series for point in each.points]
    ends = [end for p in points for end in (p.y, p.low, p.high) if end is not None]
    return nice(ends, HEIGHT, TOP, most=5, within=within)
