"""Blurred boundaries: tasks of another stream that merge into each other."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from bnnlab.engine.making import Maker
from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples, StoredImages
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab.markers import AtLeast, Part
from bnnlab.seeds import permutation
from bnnlab_rehearsal.showing import is_scaled_alike, is_shown_alike, prepared


class Blended(TaskStream):
    """The tasks of another stream, whose training examples merge around each boundary.

    A task lasts 1. The share of its examples among those that are learned rises linearly from 1 /
    `beta` before its beginning to 1 / `beta` after it, and falls in the same way at its end; the
    first and the last task have no neighbour at the outer end. Task t of this stream is what is
    learned while task t of the other one lasts, in order of time, so it is meant for one epoch; it
    is scored on the examples of that task. Source: continuous permuted MNIST, Zeno et al. 2018,
    where each batch is drawn by these shares; here each example is learned `passes` times.

    Args:
        data: The data folder.
        device: Device of the inputs.
        seed: Of the base, and when each example is learned.
        base: The stream whose tasks are blended.
        beta: How sharp the boundaries are (`contpermuted_beta`): they take 2 / `beta` of a task.
        passes: How often each example is learned while its task lasts.

    Raises:
        UsageError: If the base tells the task at test; or if its tasks augment their images and
            show them in another way each.
    """

    def __init__(
        self,
        *,
        data: Path,
        device: torch.device,
        seed: int,
        base: Annotated[Maker | str, Part("stream", refuses=("task-ids",))] = "permuted-digits",
        beta: Annotated[float, AtLeast(2)] = 4.0,
        passes: Annotated[int, AtLeast(1)] = 1,
    ) -> None:
        maker = Maker.of("stream", base)
        self._base: TaskStream = maker(data=data, device=device, seed=seed)
        if self._base.gives_task_ids:
            raise UsageError(
                f"stream.base: {maker.name} tells the task at test, and blended tasks have the "
                "classes of all: take a stream that does not tell it, or set the option of "
                f"{maker.name} that decides it, if there is one (`bnn info stream {maker.name}`)"
            )
        self.input_shape, self.classes = self._base.input_shape, self._base.classes
        self.tokens, self.class_names = self._base.tokens, self._base.class_names
        self._tasks = _merged([*self._base], maker.name, beta, passes, seed)
        self._said: dict[str, Any] = {"beta": float(beta), "passes": passes}

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, index: int) -> Task:
        return self._tasks[range(len(self))[index]]

    def out_of_distribution(self) -> Examples | None:
        """Return the base's, as inputs of the kind that the blended tasks have."""
        unknown, known = self._base.out_of_distribution(), self._tasks[0].test.pixels
        if unknown is None or not isinstance(known, Together):
            return unknown
        return _joined([unknown], final=known.is_final)

    def protocol(self) -> dict[str, Any]:
        """Return that of the base, as blended."""
        return {"scenario": "blended", "base": self._base.protocol(), **self._said}


class Together(StoredImages):
    """Examples of several parts as the rows of one data set, each as its part shows it.

    Attributes:
        is_final: Whether they are inputs, normalised already.
    """

    def __init__(self, parts: Sequence[Examples], *, final: bool) -> None:
        self._parts, self.is_final = parts, final
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self.shape = (int(self._ends[-1]), *parts[0].pixels.shape[1:])

    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each piece of rows."""
        return map(self._look_up, pieces)

    def _look_up(self, rows: Tensor) -> Tensor:
        owners = torch.bucketize(rows.cpu(), self._ends, right=True)
        images: Tensor | None = None
        for owner in torch.unique(owners).tolist():
            part, at = self._parts[owner], (owners == owner).nonzero()[:, 0]
            at = at.to(rows.device, non_blocking=True)
            local = rows[at] - int(self._ends[owner]) + len(part)
            found, _ = part.batch(local) if self.is_final else part.raw(local)
            images = found.new_empty(len(rows), *found.shape[1:]) if images is None else images
            images[at] = found
        assert images is not None
        return images


def moments(counts: Sequence[int], beta: float, passes: int, seed: int) -> np.ndarray:
    """Return when each example is learned, float64 of shape (passes * sum of counts,).

    Example i of task t is learned at t + (r + 1/2) / n + (2 (s + 1/2) / n - 1) / beta. Here r and s
    are its places in two random orders of the n examples of all passes. A number uniform in the
    task, plus one uniform on both sides, has a density that rises and falls linearly. Times before
    the stream, or after it, are mirrored into it.
    """
    times = []
    for task, count in enumerate(counts):
        n = passes * count
        r, s = (permutation(n, seed, "blended", what, task).numpy() for what in ("when", "shift"))
        times.append(task + (r + 0.5) / n + (2 * (s + 0.5) / n - 1) / beta)
    every, end = np.abs(np.concatenate(times)), len(counts)
    mirrored: np.ndarray = np.minimum(every, 2 * end - every)
    return mirrored


def _merged(tasks: Sequence[Task], name: str, beta: float, passes: int, seed: int) -> list[Task]:
    """Return the tasks with the training examples that are learned while each lasts."""
    parts = [task.train for task in tasks]
    counts = [len(part) for part in parts]
    order = torch.from_numpy(np.argsort(moments(counts, beta, passes, seed), kind="stable"))
    rows = torch.split(torch.arange(sum(counts)), counts)
    chosen = torch.cat([each.repeat(passes) for each in rows])[order]
    chosen = chosen.to(parts[0].rows.device)
    windows = torch.split(chosen, [passes * count for count in counts])
    whole = _whole(parts, name)

    def shown(part: Examples) -> Examples:
        kind = whole.pixels
        return _joined([part], final=kind.is_final) if isinstance(kind, Together) else part

    return [
        replace(
            task,
            train=replace(whole, rows=whole.rows[window], in_order=True),
            test=shown(task.test),
            validation=None if task.validation is None else shown(task.validation),
        )
        for task, window in zip(tasks, windows, strict=True)
    ]


def _whole(parts: Sequence[Examples], name: str) -> Examples:
    """Return all examples of several parts, in order."""
    first, *others = parts
    if all(is_shown_alike(first, other) for other in others):
        return replace(first, rows=torch.cat([part.rows for part in parts]))
    if any(part.augment for part in parts):
        raise UsageError(
            f"stream.base: the tasks of {name} cannot be blended: their images are augmented, and "
            "shown in another way in each task"
        )
    return _joined(parts, final=not all(is_scaled_alike(first, other) for other in others))


def _joined(parts: Sequence[Examples], *, final: bool) -> Examples:
    """Return the examples of several parts as one data set."""
    labels = torch.cat([part.labels[part.rows] for part in parts])
    rows = torch.arange(len(labels), device=labels.device)
    mean, std = (None, None) if final else (parts[0].mean, parts[0].std)
    together = Together(parts, final=final)
    return Examples(together, labels, rows, mean, std, prepared=prepared(parts))
