"""After which tasks a run is evaluated, and on which."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Evaluations:
    """Which tasks are scored after each task. After the last one, all are.

    Attributes:
        every: Tasks between two evaluations; 0: there is none before the last task.
        last: How many of the tasks learned are scored, the last ones; None: all.
        forward: Whether the untrained model and the next task after each are scored, too, for
            forward transfer; never if the model is told the task.
    """

    every: int = 1
    last: int | None = None
    forward: bool = True

    @classmethod
    def of(cls, word: str, number: int, forward: bool) -> Self:
        """Return what a run is told: `all`, `final`, or `every` or `last` with a number.

        Only `all` measures forward transfer.
        """
        if word == "last":
            return cls(1, number, forward=False)
        return cls({"all": 1, "final": 0}.get(word, number), None, forward and word == "all")

    def after(self, task: int, count: int) -> range:
        """Return which of `count` tasks are scored after a task, the next one left out."""
        learned = task + 1
        if learned == count:
            return range(count)
        if not self.every or learned % self.every:
            return range(0)
        return range(max(0, learned - (self.last or learned)), learned)

    def is_whole(self, count: int, told: bool) -> bool:
        """Return whether `count` tasks are scored as by default; `told`: the model is told each."""
        is_forward = self.forward or told or count == 1
        return is_forward and all(len(self.after(t, count)) == t + 1 for t in range(count))

    def __str__(self) -> str:
        if self.last is not None:
            return f"the last {self.last} tasks learned, after each task; all after the last"
        if not self.every:
            return "all tasks, after the last"
        ahead = " and the next one" * self.forward
        when = "each task" if self.every == 1 else f"every {self.every} tasks and the last"
        return f"all tasks learned{ahead}, after {when}"


WHOLE = Evaluations()
"""After each task, all tasks learned and the next one."""
