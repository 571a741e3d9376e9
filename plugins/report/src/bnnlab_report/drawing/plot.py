"""Lines with intervals, steps and dots between two axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bnnlab_report.drawing.scales import ANYTHING, Ends, Scale, nice, whole

WIDTH, LEFT, RIGHT, TOP, HEIGHT = 420, 46, 10, 24, 224
"""Of the drawing; the room beside its axes; and where the lower axis is."""
LEGEND, LINE = 34, 17
"""From the lower axis to the first line of the legend, and from line to line."""
LOOKS = 7
"""Colours in style.css, `.look0` and so on."""
MARKERS = (
    "M-3.6,0a3.6,3.6 0 1,0 7.2,0a3.6,3.6 0 1,0 -7.2,0z",
    "M-3.2-3.2h6.4v6.4h-6.4z",
    "M0-4.2L4.2,3.4H-4.2z",
    "M0-4.6L4.6,0L0,4.6L-4.6,0z",
    "M0,4.2L4.2-3.4H-4.2z",
    "M-4-1.3h2.7v-2.7h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7z",
    "M-4,0L0-2.6L4,0L0,2.6z",
)
"""Disc, square, triangles, diamonds, cross: a series is told by its form too."""
DASHES = ("", "7 3", "2 3", "8 3 2 3")
LONGEST = 54
"""Characters of a name that fit a line of the legend."""
MARKED = 30
"""With more points than this, a line has no markers."""


@dataclass(frozen=True)
class Point:
    """A value at a place, with the ends of its interval, where there is one; and what it is."""

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None
    about: str = ""


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes:
        name: In the legend; without one it is not there.
        points: From left to right.
        look: Number of its colour, marker and dash.
        form: `line`; `steps`, a histogram; `dots`; or `reference`, a line without marks.
    """

    name: str
    points: Sequence[Point]
    look: int
    form: str = "line"


@dataclass(frozen=True)
class Mark:
    """A series in the drawing: the paths of its line and of the area of its intervals, markers."""

    name: str
    look: int
    dash: str
    line: str
    area: str
    marker: str
    places: Sequence[tuple[float, float, str]]
    form: str


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

    @property
    def marks(self) -> list[Mark]:
        """All series."""
        return [self._mark(each) for each in self.series]

    @property
    def legend(self) -> list[tuple[float, Mark, str]]:
        """Height, mark and shortened name of each named series."""
        named = [mark for mark in self.marks if mark.name]
        return [
            (HEIGHT + LEGEND + LINE * (row + 1), mark, shortened(mark.name))
            for row, mark in enumerate(named)
        ]

    @property
    def height(self) -> int:
        """Of the drawing, with the legend."""
        return HEIGHT + LEGEND + LINE * len(self.legend) + 8

    def _mark(self, series: Series) -> Mark:
        runs = [[*run] for there, run in groupby(series.points, lambda p: p.y is not None) if there]
        path = _steps if series.form == "steps" else _line
        few = series.form in ("line", "dots") and len(series.points) <= MARKED
        lonely = [point for run in runs if len(run) == 1 for point in run]
        marked = [point for run in runs for point in run] if few else lonely
        return Mark(
            name=series.name,
            look=series.look % LOOKS,
            dash=DASHES[series.look % len(DASHES)],
            line="".join(path(self._places(run)) for run in runs) if series.form != "dots" else "",
            area="".join(self._area(run) for run in runs) if series.form == "line" else "",
            marker=MARKERS[series.look % len(MARKERS)],
            places=[(self.x(p.x), self.y(p.y), p.about) for p in marked if p.y is not None],
            form=series.form,
        )

    def _places(self, points: Sequence[Point]) -> list[tuple[float, float]]:
        return [(self.x(p.x), self.y(p.y)) for p in points if p.y is not None]

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


def _line(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in places)


def _steps(places: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = places
    return f"M{x:g},{y:g}" + "".join(f"H{x:g}V{y:g}" for x, y in rest)


def shortened(name: str, most: int = LONGEST) -> str:
    """Return a name of at most so many characters; its middle is left out if need be."""
    half = most // 2
    return name if len(name) <= most else f"{name[: half - 1]}…{name[-half:]}"


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
