"""Joint training: all tasks of another stream are one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab.engine.making import Maker
from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab.markers import Part
from bnnlab_rehearsal.showing import is_scaled_alike, is_shown_alike, prepared


class Joint(TaskStream):
    """One task whose training, validation and test parts are those of all tasks of another stream.

    It is what learning the tasks one after another is compared with, as nothing can be forgotten.
    Its accuracy is over all test examples; the average accuracy of a sequence counts every task
    alike. Parts that are no rows of one data set are copied.

    Args:
        data: The data folder.
        device: Device of the inputs.
        seed: Passed on: what is held out is what is held out of the tasks.
        base: The stream whose tasks are joined.

    Raises:
        UsageError: If the base tells the task at test; or if its tasks augment their images and
            show them in another way each, or are read from disk and are not rows of one data set.
    """

    def __init__(
        self,
        *,
        data: Path,
        device: torch.device,
        seed: int,
        base: Annotated[Maker | str, Part("stream", refuses=("task-ids",))] = "split-digits",
    ) -> None:
        maker = Maker.of("stream", base)
        self._base: TaskStream = maker(data=data, device=device, seed=seed)
        self._name = maker.name
        if self._base.gives_task_ids:
            raise UsageError(
                f"stream.base: {self._name} tells the task at test, and a joint task has the "
                "classes of all: take a stream that does not tell it, or set the option of "
                f"{self._name} that decides it, if there is one (`bnn info stream {self._name}`)"
            )
        self.input_shape, self.classes = self._base.input_shape, self._base.classes
        self.tokens, self.class_names = self._base.tokens, self._base.class_names
        self._task = self._joined([*self._base])

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Task:
        range(1)[index]  # an IndexError, past the last
        return self._task

    def _joined(self, tasks: Sequence[Task]) -> Task:
        held = [task.validation for task in tasks if task.validation is not None]
        return Task(
            0,
            f"{len(tasks)} tasks of {self._name}",
            train=self._one([task.train for task in tasks]),
            test=self._one([task.test for task in tasks]),
            validation=self._one(held) if len(held) == len(tasks) else None,
            objective=tasks[0].objective,
        )

    def _one(self, parts: Sequence[Examples]) -> Examples:
        """Return the examples of several parts; rows that they share count once."""
        first, *others = parts
        if all(is_shown_alike(first, other) for other in others):
            return replace(first, rows=torch.unique(torch.cat([part.rows for part in parts])))
        if any(not isinstance(part.pixels, Tensor) or part.augment for part in parts):
            raise UsageError(
                f"stream.base: the tasks of {self._name} cannot be joined: their images are "
                "augmented or read from disk, and shown in another way in each task"
            )
        if all(is_scaled_alike(first, other) for other in others):
            return _copied(parts, Examples.raw, mean=first.mean, std=first.std)
        return _copied(parts, Examples.batch)

    def out_of_distribution(self) -> Examples | None:
        """Return the base's, as numbers of the kind that the joint task has."""
        unknown, known = self._base.out_of_distribution(), self._task.test.pixels
        if unknown is None or not isinstance(known, Tensor) or known.dtype == torch.uint8:
            return unknown
        return _copied([unknown], Examples.batch)

    def protocol(self) -> dict[str, Any]:
        """Return that of the base, as joint."""
        return {"scenario": "joint", "base": self._base.protocol()}


def _copied(
    parts: Sequence[Examples], look: Callable[..., tuple[Tensor, Tensor]], **scale: Any
) -> Examples:
    """Return all examples of parts, as `look` shows them, in a data set of their own."""
    pairs = [look(part, torch.arange(len(part))) for part in parts]
    pixels, labels = (torch.cat(each) for each in zip(*pairs, strict=True))
    rows = torch.arange(len(labels), device=labels.device)
    return Examples(pixels, labels, rows, prepared=prepared(parts), **scale)
