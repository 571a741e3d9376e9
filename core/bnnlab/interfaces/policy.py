"""How a run trains, whatever its components are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bnnlab.interfaces.evaluations import WHOLE, Evaluations
from bnnlab.interfaces.schedule import CONSTANT, Schedule


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a run trains: how long, at which rates, by which gradients; what it keeps; its scores.

    Attributes:
        epochs: Passes over the training data of each task, in order; empty where all tasks have
            the `epochs` of the run.
        steps: Optimizer steps per task, in place of epochs; None: the epochs count.
        schedule: Factor of the learning rates at each time.
        pieces: A batch is differentiated in this many pieces, one after another.
        clip_value: Each number of the gradient is clipped to this size; None: no bound.
        patience: A task is over after this many epochs without a better validation score; None:
            all epochs are made.
        keep: What is kept of a task: what its last epoch left, or the epoch with the best
            validation score.
        evaluations: After which tasks it is scored, and on which.
    """

    epochs: Sequence[int] = ()
    steps: int | None = None
    schedule: Schedule = CONSTANT
    pieces: int = 1
    clip_value: float | None = None
    patience: int | None = None
    keep: Literal["last", "best"] = "last"
    evaluations: Evaluations = WHOLE

    @property
    def selects(self) -> bool:
        """Whether the validation parts decide on what is learned."""
        return self.patience is not None or self.keep == "best"

    def alone(self, task: int) -> "Policy":
        """Return the policy of a run on one of the tasks."""
        return replace(self, epochs=self.epochs[task : task + 1])


USUAL = Policy()
"""All epochs of the run, at the rates of the optimizer; the last epoch is kept."""
