"""Further scores of the tasks seen: top-k accuracy of classes, errors of real numbers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from bnnlab.interfaces.prediction import Prediction, RealPrediction
from bnnlab.interfaces.probe import Moment, Probe
from bnnlab.interfaces.stream import Task
from bnnlab.markers import AtLeast


class _Scores(Probe, ABC):
    """Scores the predictions for each task seen; the measures are those after the last task."""

    def __init__(self) -> None:
        self._row: list[dict[str, Any]] = []
        self._measured: list[dict[str, Any]] = []

    @abstractmethod
    def score(self, prediction: Any) -> dict[str, Any]:
        """Return the scores of a prediction, by name."""

    def predicted(self, at: Moment, task: Task | None, prediction: Any) -> None:
        """Score the prediction for a task seen."""
        if task is not None and task.index <= at.task.index:
            self._row += [{} for _ in range(task.index - len(self._row))]  # not evaluated
            self._row.append(self.score(prediction))

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:  # noqa: ARG002
        """Keep the scores of the evaluation."""
        self._measured, self._row = self._row, []
        return self.measures()

    def measures(self) -> Mapping[str, Any]:
        """Return each score, per task seen; None where it was not evaluated."""
        names = self._measured[-1] if self._measured else ()
        return {name: [each.get(name) for each in self._measured] for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured, and what the evaluation under way has scored so far."""
        return {"row": self._row, "measured": self._measured}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._row, self._measured = [*state["row"]], [*state["measured"]]


class TopK(_Scores):
    """Measures how often the class is among the k most probable ones, per task seen.

    Where the task is known at test, these are of the task's classes.

    Args:
        k: How many classes may be named. With k classes or fewer, every answer is right.
    """

    def __init__(self, *, k: Annotated[int, AtLeast(1)] = 5) -> None:
        super().__init__()
        self._k = k

    def score(self, prediction: Prediction) -> dict[str, Any]:
        """Return the share of examples whose class is one of the k."""
        p = prediction.probabilities
        first = p.argsort(dim=-1, descending=True, stable=True)[:, : self._k]  # ties: as argmax
        right = (first == prediction.targets.to(first.device)[:, None]).any(-1)
        return {"top_k_accuracy": float(right.sum()) / len(right)}


class RealErrors(_Scores):
    """Measures the errors of real numbers, per task seen, in the units of the targets."""

    takes = RealPrediction

    def score(self, prediction: RealPrediction) -> dict[str, Any]:
        """Return the root of the mean squared error, of all numbers, and the mean error's size."""
        errors = (prediction.outputs.cpu() - prediction.targets.cpu()).double()
        return {"rmse": float(errors.square().mean().sqrt()), "mae": float(errors.abs().mean())}
