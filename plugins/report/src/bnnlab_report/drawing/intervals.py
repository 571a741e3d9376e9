"""One value per row with its interval, beneath the row's name."""

from collections.abc import Sequence
from dataclasses import dataclass

from bnnlab_report.drawing.looks import Named
from bnnlab_report.drawing.plot import WIDTH
from bnnlab_report.drawing.scales import Scale, nice

ROW = 38
"""From row to row: a name and a value."""
TOP, SIDE, BELOW = 6, 14, 40


@dataclass(frozen=True)
class Row(Named):
    """A value with its interval, and the value as text."""

    value: float | None
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Intervals:
    """Rows over one axis.

    Attributes:
        rows: From top to bottom.
        title: Of the axis.
        zero: Whether 0 is marked: the rows are differences.
    """

    rows: Sequence[Row]
    title: str
    zero: bool = False
    kind: str = "intervals"

    width = WIDTH
    left, right, top, step = SIDE, WIDTH - SIDE, TOP, ROW

    @property
    def x(self) -> Scale:
        """The axis."""
        ends = [end for row in self.rows for end in (row.value, row.low, row.high)]
        there = [end for end in ends if end is not None] + ([0.0] if self.zero else [])
        return nice(there, SIDE + 6, WIDTH - SIDE - 6)

    @property
    def bottom(self) -> int:
        """Where the axis is."""
        return TOP + ROW * len(self.rows) + 4

    @property
    def height(self) -> int:
        """Of the drawing."""
        return self.bottom + BELOW
