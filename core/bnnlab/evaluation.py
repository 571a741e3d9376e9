"""Accuracy, and what a matrix of accuracies says of learning and forgetting."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from bnnlab.model import Model
from bnnlab.normalization import needs_recalibration, recalibrate
from bnnlab.optimizer import Optimizer
from bnnlab.stream import Examples, Task

EVALUATION_BATCH = 2000
RECALIBRATION_IMAGES = 5000
"""Training images from which recalibrated statistics are measured, over all tasks concerned."""
RECALIBRATION_BATCHES = 10

Matrix = Sequence[Sequence[float | None]]


def probabilities(model: Model, optimizer: Optimizer, task: Task, examples: Examples) -> Tensor:
    """Return the predicted class probabilities `(N, K)` of the deployed weights."""
    with torch.no_grad():
        total = torch.zeros(())
        for _ in optimizer.predictive(0):
            parts = [
                task.mask(model(inputs)).softmax(-1)
                for inputs, _ in examples.batches(EVALUATION_BATCH)
            ]
            total = total + torch.cat(parts)
        return total


class Evaluator:
    """Scores tasks with the statistics and the task identity that the protocol allows.

    Args:
        model: The model that is trained.
        optimizer: Its optimizer, which may hold a posterior.
        task_ids: Whether the model is told which task it is tested on.
    """

    def __init__(self, model: Model, optimizer: Optimizer, task_ids: bool) -> None:
        self.model, self.optimizer, self.task_ids = model, optimizer, task_ids

    def accuracies(
        self, tasks: Sequence[Task], seen: Sequence[Task], part: Callable[[Task], Examples]
    ) -> list[float]:
        """Return the accuracy, a fraction, on a part of each task.

        Args:
            tasks: What is scored.
            seen: The tasks learned so far, whose training images may recalibrate statistics.
            part: Which examples of a task, e.g. its test part.
        """
        training = self.model.training
        self.model.eval()
        afresh = needs_recalibration(self.model)
        if afresh and not self.task_ids:
            recalibrate(self.model, _calibration(seen))
        done: dict[int, float] = {}  # parts of a chunked data set share one test part
        result = []
        for task in tasks:
            examples = part(task)
            if self.task_ids:
                self.model.select_task(task.index)
                if afresh:
                    recalibrate(self.model, _calibration([task]))
            if id(examples) not in done or self.task_ids:
                done[id(examples)] = self._accuracy(task, examples)
            result.append(done[id(examples)])
        self.model.train(training)
        return result

    def _accuracy(self, task: Task, examples: Examples) -> float:
        predicted = probabilities(self.model, self.optimizer, task, examples).argmax(-1)
        targets = examples.labels[examples.rows]
        return float((predicted == targets).sum()) / len(targets)


def _calibration(tasks: Sequence[Task]) -> Iterator[Tensor]:
    """Yield batches of training inputs in which all tasks are mixed evenly."""
    share = max(1, RECALIBRATION_IMAGES // max(1, len(tasks)))
    spread = [torch.linspace(0, len(t.train) - 1, min(share, len(t.train))).long() for t in tasks]
    count = min(RECALIBRATION_BATCHES, *(len(positions) for positions in spread))
    for start in range(count):
        yield torch.cat(
            [
                task.train.batch(positions[start::count])[0]
                for task, positions in zip(tasks, spread, strict=True)
            ]
        )


def average_accuracy(matrix: Matrix) -> float | None:
    """Return the mean over all tasks learned, after the last of them."""
    return _mean(matrix[-1][: len(matrix)]) if matrix else None


def forgetting(matrix: Matrix) -> float | None:
    """Return the mean over earlier tasks of (best accuracy so far - accuracy at the end).

    Source: Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, eq. 3.
    """
    last = len(matrix) - 1
    losses = []
    for task in range(last):
        history = [a for row in matrix[task:last] if (a := row[task]) is not None]
        final = matrix[last][task]
        losses.append(None if final is None or not history else max(history) - final)
    return _mean(losses)


def backward_transfer(matrix: Matrix) -> float | None:
    """Return the mean over earlier tasks of (accuracy at the end - accuracy when learned).

    Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory", NeurIPS 2017, eq. 3.
    """
    last = len(matrix) - 1
    return _mean([_minus(matrix[last][task], matrix[task][task]) for task in range(last)])


def forward_transfer(matrix: Matrix, untrained: Sequence[float | None]) -> float | None:
    """Return the mean over later tasks of (accuracy just before learning - untrained model's).

    Source: Lopez-Paz and Ranzato, "Gradient Episodic Memory", NeurIPS 2017, eq. 4.
    """
    steps = pairwise(range(len(matrix)))
    return _mean([_minus(matrix[before][task], untrained[task]) for before, task in steps])


def plasticity(matrix: Matrix) -> float | None:
    """Return the mean over tasks of the accuracy right after learning the task."""
    return _mean([row[task] for task, row in enumerate(matrix)])


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured and len(measured) == len(values) else None
