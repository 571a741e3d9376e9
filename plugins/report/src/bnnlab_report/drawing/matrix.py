"""A matrix as a heat map."""

from collections.abc import Sequence
from dataclasses import dataclass

from bnnlab_report.drawing.colours import ink, shade

LEFT, TOP = 46, 44
"""Room for the numbers of rows and columns, and what they mean."""
NUMBERED = 12
"""The most columns with numbers in their squares."""
_LABELS = 20
"""The most rows that are all numbered."""


@dataclass(frozen=True)
class Square:
    """A value in its place, its colour, and the ink of its number; `ahead` of what is learned."""

    x: float
    y: float
    fill: str
    ink: str
    text: str
    ahead: bool


@dataclass(frozen=True)
class Matrix:
    """An accuracy matrix: row i after task i, column j on task j.

    Attributes:
        values: From 0 to 1; None: not measured.
    """

    values: Sequence[Sequence[float | None]]
    kind: str = "matrix"

    left, top = LEFT, TOP

    @property
    def size(self) -> int:
        """How many tasks there are."""
        return max(len(self.values), *map(len, self.values)) if self.values else 0

    @property
    def side(self) -> float:
        """Of a square."""
        return max(6.0, min(46.0, 400 / self.size))

    @property
    def width(self) -> float:
        """Of the drawing; it is never so narrow that its words do not fit."""
        return max(LEFT + self.size * self.side + 6, 180)

    @property
    def height(self) -> float:
        """Of the drawing."""
        return TOP + self.size * self.side + 6

    @property
    def squares(self) -> list[Square]:
        """All values that were measured."""
        return [
            self._square(row, column, value)
            for row, values in enumerate(self.values)
            for column, value in enumerate(values)
            if value is not None
        ]

    def _square(self, row: int, column: int, value: float) -> Square:
        digits = 1 if self.size <= 8 else 0
        text = f"{100 * value:.{digits}f}" if self.size <= NUMBERED else ""
        x, y = LEFT + column * self.side, TOP + row * self.side
        return Square(round(x, 1), round(y, 1), shade(value), ink(value), text, column > row)

    @property
    def labels(self) -> list[tuple[float, str]]:
        """Where the numbers of tasks are, from the matrix's corner."""
        step = -(-self.size // _LABELS)
        return [((n + 0.5) * self.side, str(n + 1)) for n in range(0, self.size, step)]
