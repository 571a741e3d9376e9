"""What is exported: a model, the tasks whose images it was trained for, its optimizer for draws."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bnnlab.engine.evaluation import EVALUATION_BATCH
from bnnlab.errors import UsageError
from bnnlab.guards.modes import in_mode
from bnnlab.guards.module_state import undisturbed
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.objectives import Classes, RealNumbers
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.stream import Task
from bnnlab.nn.normalization import needs_recalibration
from bnnlab_export.builder import Pixels

PERMUTED = (
    "with the pixels in the order of their task, which the model is not told; for images as "
    "stored, export it for one task"
)
AS_STORED = "as stored"
RANDOM_INPUTS = 1000
"""How many random inputs take the place of a test part, if there is no stream."""

FIRST = EVALUATION_BATCH // 4
"""On so many inputs of each test part, layers are compared with what they say they are."""


@dataclass(frozen=True, eq=False)
class Source:
    """A model to export.

    Attributes:
        model: It holds the deployed weights.
        input_shape: `(C, H, W)` or `(F,)`.
        tasks: Those of the stream; without a stream, one of random inputs.
        task_ids: Whether the model is told the task.
        class_names: Of the stream.
        optimizer: For draws.
        draws: Weight draws; 0 for the deployed weights.
        about: What is known of the run, for people.
        has_data: Whether the tasks are of a stream.
        learned: How many tasks the run has learned, and of how many; None if all, or without one.
    """

    model: Model
    input_shape: tuple[int, ...]
    tasks: Sequence[Task]
    task_ids: bool = False
    class_names: Sequence[str] = ()
    optimizer: Optimizer | None = None
    draws: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)
    has_data: bool = True
    learned: tuple[int, int] | None = None

    def check(self) -> None:
        """Refuse what no file can be made of.

        Raises:
            UsageError: In words.
        """
        model, objective = self.model, self.tasks[0].objective
        refused = {
            "its network settles by feedback, by a rule that set model.inference, and a program is "
            "a list of steps": model.inference is not None,
            "its inputs are token ids": model.tokens is not None,
            "its statistics are recalibrated before each evaluation, on training images, which a "
            "file does not have: take statistics 'running' or 'per-task'": needs_recalibration(
                model
            ),
            "it has no binary weights": not model.binary_parameters(),
            f"its targets are {objective.name}": not isinstance(objective, Classes | RealNumbers),
            "it is on another device: move it with model.cpu()": any(
                each.device.type != "cpu" for each in model.parameters()
            ),
            f"its inputs have the shape {self.input_shape}: images (C, H, W) and rows (F,) are "
            "known": len(self.input_shape) not in (1, 3),
        }
        if why := [each for each, holds in refused.items() if holds]:
            raise UsageError(f"the model cannot be exported: {'; '.join(why)}.")

    def of_task(self, number: int | None) -> "Source":
        """Return what is exported for one task alone; all of it for None.

        Raises:
            UsageError: If there is no such task, or the model is not told the task, and all tasks
                have the same images.
        """
        if number is None:
            return self
        taken = {(task.test.prepared, id(task.test.permutation)) for task in self.tasks}
        if not self.task_ids and len(taken) == 1:
            raise UsageError(f"task: {number}, but the model is not told the task: leave it out")
        if not 0 <= number < len(self.tasks):
            raise UsageError(f"task: {number} is not in 0 to {len(self.tasks) - 1}")
        return replace(self, tasks=[self.tasks[number]])

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the model into evaluation mode, and put it back as it was afterwards."""
        with undisturbed(self.model), in_mode(self.model, training=False):
            yield

    def variants(self) -> Iterator[Task]:
        """Put the weights of each draw into the model, and select each task in turn.

        Yields:
            The task, which stands for all if none is told.
        """
        draws = self.optimizer.predictive(self.draws) if self.optimizer else iter([None])
        for _ in draws:
            for task in self.tasks if self.task_ids else self.tasks[:1]:
                if self.task_ids:
                    self.model.select_task(task.index)
                yield task

    def alike(self, task: Task) -> list[Task]:
        """Return the tasks that the present variant is for, each test part once."""
        if self.task_ids:
            return [task]
        return [*{id(each.test): each for each in self.tasks}.values()]

    def first_inputs(self, task: Task) -> list[Tensor]:
        """Return the model's inputs: the first ones of each test part of a variant."""
        parts = [each.test for each in self.alike(task)]
        return [each.batch(torch.arange(min(len(each), FIRST)))[0] for each in parts]

    def order(self, task: Task) -> Tensor | None:
        """Return which stored pixel each input of a variant is; None for the stored order.

        None, too, if its tasks have several orders: then the file takes permuted images.
        """
        if all(each.test.permutation is None for each in self.tasks):
            return None
        usual = torch.arange(math.prod(self.input_shape))
        first, *others = (
            usual if each.test.permutation is None else each.test.permutation
            for each in self.alike(task)
        )
        return first if all(torch.equal(each, first) for each in others) else None

    def images(self, task: Task, positions: Tensor) -> Tensor:
        """Return test images `(B, ...)` of a task as the file takes them, uint8 or float32."""
        part = task.test
        part = part if self.order(task) is None else replace(part, permutation=None)
        images = part.raw(positions)[0]
        return images if images.dtype == torch.uint8 else images.float()

    def prepared(self) -> list[str]:
        """Return what is done to images before the file takes them, in words."""
        said = []
        for task in self.tasks:
            permuted = task.test.permutation is not None and self.order(task) is None
            said.append((*task.test.prepared, *([PERMUTED] if permuted else [])))
        if len({*said}) == 1:
            return [*said[0]]
        pairs = zip(self.tasks, said, strict=True)
        return [f"of task {task.name!r} {', '.join(its) or AS_STORED}" for task, its in pairs]

    def pixels(self, task: Task) -> Pixels:
        """Return what makes inputs of the images of a task.

        Raises:
            UsageError: If tasks differ in this, and the model is not told the task.
        """
        order = self.order(task)
        its = [_pixels(each.test, self.input_shape, order) for each in self.alike(task)]
        if not all(_are_equal(each, its[0]) for each in its):
            raise UsageError(
                "the tasks normalise their images in different ways, and the model is not told the "
                "task: a program would not know which one to take."
            )
        return its[0]


def random_task(input_shape: tuple[int, ...]) -> Task:
    """Return a task of random inputs, for a model without a stream."""
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(RANDOM_INPUTS, *input_shape, generator=draws)
    rows = torch.arange(RANDOM_INPUTS)
    part = Examples(inputs, torch.zeros(RANDOM_INPUTS, dtype=torch.int64), rows)
    return Task(0, "random inputs", part, part)


def _pixels(part: Examples, shape: tuple[int, ...], order: Tensor | None) -> Pixels:
    dtype = part.raw(torch.zeros(1, dtype=torch.int64))[0].dtype
    if dtype != torch.uint8 and not dtype.is_floating_point:
        raise UsageError(f"images are {dtype}: a file takes uint8 or float32.")
    mean, std = (_whole(part, each, shape) for each in (part.mean, part.std))
    return Pixels(mean, std, "uint8" if dtype == torch.uint8 else "float32", order)


def _whole(part: Examples, normal: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """Return a mean or std for each stored pixel, in the order of the permuted image."""
    if normal is None:
        return None
    full = normal.float().expand(shape)
    return full if part.permutation is None else full.flatten()[part.permutation].view(shape)


def _are_equal(one: Pixels, other: Pixels) -> bool:
    pairs = ((one.mean, other.mean), (one.std, other.std))
    return one.dtype == other.dtype and all(
        a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs
    )
