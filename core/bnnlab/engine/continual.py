"""Measures of the accuracy matrix: learning, forgetting, transfer.

Row i of the matrix is measured after learning task i, column j on the test part of task j; None is
"not measured"; a measure that needs it is None too.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bnnlab.interfaces.evaluations import Evaluations

Matrix = Sequence[Sequence[float | None]]

RECENT = 5
"""How many of the last tasks `recent_accuracy` averages over."""


def measures(matrix: Matrix, untrained: Sequence[float | None]) -> dict[str, Any]:
    """Return what is measured of a matrix, by name; with it, and the untrained model's accuracy."""
    return {
        "accuracy": matrix,
        "untrained_accuracy": untrained,
        "average_accuracy": average_accuracy(matrix),
        "recent_accuracy": recent_accuracy(matrix),
        "learning_accuracy": learning_accuracy(matrix),
        "forgetting": forgetting(matrix),
        "backward_transfer": backward_transfer(matrix),
        "forward_transfer": forward_transfer(matrix, untrained),
        "retention": retention(matrix),
    }


def measured(evaluations: Evaluations, count: int, told: bool) -> dict[str, Any]:
    """Return `measures` as a run of `count` tasks will have them: with None for what is not scored.

    Args:
        evaluations: After which tasks it is scored, and on which.
        count: How many tasks it has.
        told: Whether the model is told the task that it is tested on.
    """
    goes_ahead = evaluations.forward and not told
    matrix = []
    for task in range(count):
        asked = evaluations.after(task, count)
        stop = min(asked.stop + (goes_ahead and bool(asked)), count)
        matrix.append([1.0 if asked.start <= at < stop else None for at in range(count)])
    return measures(matrix, [1.0 if goes_ahead else None] * count)


def average_accuracy(matrix: Matrix) -> float | None:
    """Return the mean over all tasks learned, after the last of them."""
    return _mean(matrix[-1][: len(matrix)]) if matrix else None


def recent_accuracy(matrix: Matrix, k: int = RECENT) -> float | None:
    """Return the mean over the last k tasks learned, after the last of them."""
    return _mean(matrix[-1][: len(matrix)][-k:]) if matrix else None


def forgetting(matrix: Matrix) -> float | None:
    """Return the mean over earlier tasks of (best accuracy so far - accuracy at the end).

    Source: Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, eq. 3.
    """
    last = len(matrix) - 1
    bests = [_max([row[task] for row in matrix[task:last]]) for task in range(last)]
    return _mean([_minus(best, matrix[last][task]) for task, best in enumerate(bests)])


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


def learning_accuracy(matrix: Matrix) -> float | None:
    """Return the mean over tasks of the accuracy right after learning the task.

    Source: Riemer et al., "Learning to Learn without Forgetting", ICLR 2019.
    """
    return _mean([row[task] for task, row in enumerate(matrix)])


def plasticity(matrix: Matrix, fresh: Sequence[float | None]) -> float | None:
    """Return the mean over tasks of (accuracy right after learning - accuracy of a fresh model).

    A negative value: earlier tasks make learning harder.
    """
    if len(fresh) < len(matrix):
        return None
    return _mean([_minus(row[task], fresh[task]) for task, row in enumerate(matrix)])


def retention(matrix: Matrix) -> list[float | None]:
    """Return, per lag k = 0, 1, ..., the mean accuracy on a task k tasks after it was learned."""
    count = len(matrix)
    return [_mean([matrix[t + k][t] for t in range(count - k)]) for k in range(count)]


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _max(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return max(measured) if measured and len(measured) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured and len(measured) == len(values) else None
