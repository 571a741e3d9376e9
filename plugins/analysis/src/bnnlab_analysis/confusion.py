"""Which classes are taken for which: the confusion matrix, and the accuracy on each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.prediction import Prediction
from bnnlab.interfaces.probe import Moment, Probe, Run
from bnnlab.interfaces.stream import Task

CELLS = 100_000
"""Cells of matrices that metrics.jsonl may have of one run, beside those of the last task."""


def count(prediction: Prediction) -> Tensor:
    """Return the confusion matrix of a prediction: the cells that are not 0.

    The predicted class is the most probable one of the mean over the weight draws.

    Returns:
        int64 of shape (n, 3), row by row: class, predicted class, examples.
    """
    predicted = prediction.probabilities.argmax(-1).cpu()
    pairs = torch.stack([prediction.targets.cpu(), predicted], 1)
    return joined(torch.cat([pairs, torch.ones(len(pairs), 1, dtype=torch.int64)], 1))


def joined(cells: Tensor) -> Tensor:
    """Return cells, `(n, 3)`, in order, with the examples of equal ones added up."""
    width = int(cells[:, :2].max()) + 1
    codes, place = torch.unique(cells[:, 0] * width + cells[:, 1], return_inverse=True)
    examples = torch.zeros_like(codes).index_add_(0, place, cells[:, 2])
    return torch.stack([codes // width, codes % width, examples], 1)


def class_accuracy(cells: Tensor, classes: int) -> list[float | None]:
    """Return per class the share of its examples that are predicted as it; None without any."""
    of_class, predicted, examples = cells.T
    every = torch.zeros(classes, dtype=torch.int64).index_add_(0, of_class, examples)
    right = torch.zeros_like(every).index_add_(0, of_class, examples * (predicted == of_class))
    pairs = zip(right.tolist(), every.tolist(), strict=True)
    return [one / all_ if all_ else None for one, all_ in pairs]


class Confusion(Probe):
    """Counts which classes are taken for which, after every task, over all tasks seen.

    The examples are those of the accuracy matrix: the parts of the tasks seen that are scored, in
    a task-incremental run each among the classes of its own task. A part that tasks share counts
    once for each of them.

    Of the measures, `confusion` is a list of the cells of the matrix that are not 0, each
    `[class, predicted class, examples]`: it is never longer than the number of examples, however
    many classes there are. `class_accuracy` has a fraction per class; None if no task seen has
    examples of it. Classes are the labels of the stream, from 0; `class_names` has a name for each,
    and is empty if the stream has none.

    The line of every evaluation in metrics.jsonl has both, too. After the last task they are those
    of the result. Before, `confusion` is None if it has more cells than `CELLS` over the number of
    tasks: with 10 tasks that is never so below 100 classes.
    """

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._classes = 0
        self._names: list[str] = []
        self._measured: dict[str, Any] = {"confusion": [], "class_accuracy": []}

    def attach(self, run: Run) -> None:
        """Take the number of tasks, and the names of the classes."""
        self._tasks, self._names = len(run.tasks), [*run.class_names]

    def predicted(self, at: Moment, task: Task | None, prediction: Prediction) -> None:
        """Count the predictions for a task seen."""
        if task is not None and task.index <= at.task.index:
            self._classes = prediction.probabilities.shape[-1]
            self._parts.append(count(prediction))

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:  # noqa: ARG002
        """Join what was counted of each task seen."""
        cells, self._parts = joined(torch.cat(self._parts)), []
        self._measured = {
            "confusion": cells.tolist(),
            "class_accuracy": class_accuracy(cells, self._classes),
        }
        is_last = at.task.index + 1 == self._tasks
        is_small = len(cells) * self._tasks <= CELLS
        return self._measured if is_last or is_small else {**self._measured, "confusion": None}

    def measures(self) -> Mapping[str, Any]:
        """Return what was counted after the last task."""
        return {**self._measured, "class_names": self._names}

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured, and what the evaluation under way has counted so far."""
        return {"parts": self._parts, "classes": self._classes, **self._measured}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._parts, self._classes = [*state["parts"]], state["classes"]
        self._measured = {name: state[name] for name in self._measured}
