"""A matrix as a heat map."""

from collections.abc import Sequence
from dataclasses import dataclass

from bnnlab_report.drawing.colours import ink, shade

LEFT, TOP, EDGE = 46, 44, 6
"""Room for the numbers of the tasks and what they mean; and on the other sides."""
WIDEST, NARROWEST, LEAST = 46.0, 180.0, 64.0
"""Side of a square of few; the least width of a drawing and height of its squares, for words."""


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
        values: A row per task of `tasks` that was learned, from 0 to 1; None: not measured.
        tasks: Numbers of the tasks, from 1.
    """

    values: Sequence[Sequence[float | None]]
    tasks: Sequence[int]
    kind: str = "matrix"

    left, top = LEFT, TOP

    @property
    def side(self) -> float:
        """Of a square."""
        return round(min(WIDEST, 400 / len(self.tasks)), 1)

    @property
    def width(self) -> float:
        """Of the drawing."""
        return max(LEFT + len(self.tasks) * self.side + EDGE, NARROWEST)

    @property
    def height(self) -> float:
        """Of the drawing."""
        return TOP + max(len(self.tasks) * self.side, LEAST) + EDGE

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
        digits = 1 if len(self.tasks) <= 8 else 0
        text = f"{100 * value:.{digits}f}"
        x, y = LEFT + column * self.side, TOP + row * self.side
        return Square(round(x, 1), round(y, 1), shade(value), ink(value), text, column > row)

    @property
    def labels(self) -> list[tuple[float, int]]:
        """Where the numbers of tasks are, from the matrix's corner."""
        return [(round((n + 0.5) * self.side, 1), task) for n, task in enumerate(self.tasks)]
