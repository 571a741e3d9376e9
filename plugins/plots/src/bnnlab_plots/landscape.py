"""What a trained network predicts on a grid over its inputs, and the points that it learned."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bnnlab.engine.evaluation import Evaluator
from bnnlab.engine.loading import reopen
from bnnlab.errors import UsageError, command
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.prediction import Predicted, Prediction
from bnnlab.interfaces.probe import Run
from bnnlab.interfaces.stream import Task
from bnnlab.storage.folder import config_of
from bnnlab_plots.figure import result, spread, title

BEYOND = 0.4
"""How far the grid goes beyond the points on each side, as a share of their range."""
ACROSS = 201
"""Points of the grid along each input."""
SHOWN = 1000
"""Training points that are drawn, at most."""
UNITS = "inputs as the stream stores them, before they are normalised"

Kind = TypeVar("Kind", bound=Predicted)
Numbers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class View(Generic[Kind]):
    """What one way of predicting predicts.

    Attributes:
        name: By which weights.
        grid: The prediction at each point of the grid, the first input changing fastest.
        score: On the task's test part.
    """

    name: str
    grid: Kind
    score: float


@dataclass(frozen=True, eq=False)
class Landscape(Generic[Kind]):
    """Predictions over the inputs of a run's last task.

    Attributes:
        sides: Per input, its values on the grid.
        points: Training points, evenly chosen if they are many, `(N, F)`.
        targets: Their targets, `(N, ...)`.
        views: By the deployed weights; and of a run with a posterior, by its weight draws together.
        class_names: As in `Run`.
        notes: What a picture of it says on top.
    """

    sides: list[Numbers]
    points: Numbers
    targets: Numbers
    views: list[View[Kind]]
    class_names: list[str]
    notes: list[str]


def landscape(run: Path, inputs: int, kind: type[Kind], objects: dict[str, Any]) -> Landscape[Kind]:
    """Return what a run predicts over the inputs of its last task.

    Args:
        run: The run's folder.
        inputs: How many real inputs it must have.
        kind: What it must predict.
        objects: The objects that the run was given, by kind.

    Raises:
        UsageError: If it has other inputs or predicts something else, has not ended, or cannot be
            made again from its folder.
    """
    config_of(run)
    if result(run).get("status") not in ("complete", "stopped"):
        again = command("run", "--resume", run)
        raise UsageError(f"{run} has not ended: go on with it by {again}, and draw it then")
    made = reopen(run, **objects)
    task = made.tasks[-1]
    _expect(run, task, inputs, kind)
    points, targets = (
        part[task.train.rows[spread(len(task.train), SHOWN)]].numpy()
        for part in (task.train.pixels, task.train.labels)
    )
    sides = _sides(task)
    grid = _on(task, sides)
    draws = made.optimizer.test_draws
    ways = {"deployed weights": None if draws else made.optimizer}
    if draws:
        ways[f"mean of {draws} weight draws"] = made.optimizer
    views = [_view(name, made, optimizer, task, grid) for name, optimizer in ways.items()]
    notes = [title(run)]
    if len(made.tasks) > 1:
        notes.append(f"after task {len(made.tasks)}, with the points of this task")
    if len(points) < len(task.train):
        notes.append(f"{len(points):,} of {len(task.train):,} training points are shown")
    return Landscape(sides, points, targets, views, [*made.class_names], notes)


def _expect(run: Path, task: Task, inputs: int, kind: type[Predicted]) -> None:
    pixels, objective = task.train.pixels, task.objective
    is_real = isinstance(pixels, torch.Tensor) and pixels.dtype != torch.int64
    is_kind = issubclass(objective.prediction, kind)
    is_kind &= objective.is_of_classes == (kind is Prediction)
    shape = tuple(pixels.shape[1:])
    if not (is_real and is_kind and shape == (inputs,)):
        found = "numbers" if is_real else "token ids or images on disk"
        raise UsageError(
            f"{run} has inputs of shape {shape}, {found}, and targets that are {objective.name}: "
            f"{_WANTED}"
        )


_WANTED = (
    "bnn plot regions draws runs with two real inputs and a class per input, and bnn plot band "
    "runs with one real input and real numbers; bnn plot accuracy draws every run"
)


def _sides(task: Task) -> list[Numbers]:
    """Return the values of each input on the grid, by the range of training and test points."""
    pixels = torch.cat([part.pixels[part.rows] for part in (task.train, task.test)]).numpy()
    low, high = pixels.min(0).astype(float), pixels.max(0).astype(float)
    more = BEYOND * np.where(high > low, high - low, 1.0)
    return [*np.linspace(low - more, high + more, ACROSS).T]


def _on(task: Task, sides: list[Numbers]) -> Task:
    """Return the task with the points of the grid as its test part."""
    points = np.stack([each.ravel() for each in np.meshgrid(*sides)], 1).astype(np.float32)
    labels = task.test.labels
    test = replace(
        task.test,
        pixels=torch.from_numpy(points),
        labels=labels.new_zeros((len(points), *labels.shape[1:])),
        rows=torch.arange(len(points)),
    )
    return replace(task, test=test)


def _view(name: str, run: Run, optimizer: Optimizer | None, task: Task, grid: Task) -> View[Any]:
    evaluator = Evaluator(run.model, optimizer, run.task_ids)
    [[(_, scored)]] = evaluator.predict([task], run.tasks)
    [[(_, found)]] = evaluator.predict([grid], run.tasks)
    return View(name, found, scored.score())
