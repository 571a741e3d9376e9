"""A matrix as a heat map."""

from collections.abc import Sequence
from dataclasses import dataclass

from bnnlab.engine.figures import SHARE, Score
from bnnlab_report.drawing.colours import ink, shade

LEFT, TOP, EDGE = 46, 44, 6
"""Room for the numbers of the tasks and what they mean; and on the other sides."""
WIDEST, NARROWEST, LEAST = 46.0, 180.0, 64.0
"""Side of a square of few; the least width of a drawing and height of its squares, for words."""


@dataclass(frozen=True)
class Matrix:
    """An accuracy matrix: row i after task i, column j on task j.

    Attributes:
        values: A row per task of `tasks` that was learned; None: not measured.
        tasks: Numbers of the tasks, from 1.
        score: What the values are.
    """

    values: Sequence[Sequence[float | None]]
    tasks: Sequence[int]
    score: Score = SHARE
    kind: str = "matrix"

    left, top = LEFT, TOP
    shade, ink = staticmethod(shade), staticmethod(ink)

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

    def text(self, value: float) -> str:
        """Return the number in a square."""
        return self.score.number(value, digits=1 if len(self.tasks) <= 8 else 0)

    @property
    def labels(self) -> list[tuple[float, int]]:
        """Where the numbers of tasks are, from the matrix's corner."""
        return [(round((n + 0.5) * self.side, 1), task) for n, task in enumerate(self.tasks)]
