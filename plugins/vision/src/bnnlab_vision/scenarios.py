"""The scenarios: ways in which data sets become tasks."""

from collections.abc import Sequence as Ordered
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from bnnlab.errors import UsageError
from bnnlab.seeds import permutation
from bnnlab.stream import Examples, Task
from bnnlab_vision.datasets import find_source
from bnnlab_vision.preparation import Prepared
from bnnlab_vision.scenario import PERMUTATION, Scenario

_DEFAULT_DATASETS = ["mnist", "fashion-mnist"]


class Single(Scenario):
    """A data set as one task."""

    def __init__(
        self,
        *,
        data: Path,
        device: torch.device,
        seed: int,
        dataset: str,
        validation: float = 0.0,
        unknown: str = PERMUTATION,
    ) -> None:
        source = Prepared(dataset, data=data, device=device, seed=seed, validation=validation)
        options = {"validation": float(validation)}
        super().__init__([source], 1, options, unknown=unknown, data=data, seed=seed)

    def _make(self, index: int) -> Task:
        source = self._prepared[0]
        return source.task(index, source.name)


class Permuted(Scenario):
    """A data set again and again, in each task (the first too) with its pixels permuted anew.

    Input i of task t is pixel π_t(i) of the C*H*W. Source: Goodfellow et al. 2013;
    Kirkpatrick et al. 2017.

    Args:
        seed: Chooses the permutations too.
        tasks: Number of tasks.
        task_ids: Whether the model may be told the task at test.
    """

    permutes = True

    def __init__(
        self,
        *,
        data: Path,
        device: torch.device,
        seed: int,
        dataset: str,
        tasks: int = 10,
        task_ids: bool = False,
        validation: float = 0.0,
        unknown: str = PERMUTATION,
    ) -> None:
        source = Prepared(dataset, data=data, device=device, seed=seed, validation=validation)
        options = {"tasks": tasks, "task_ids": task_ids, "validation": float(validation)}
        super().__init__([source], tasks, options, unknown=unknown, data=data, seed=seed)
        self.gives_task_ids = task_ids

    def _make(self, index: int) -> Task:
        source = self._prepared[0]
        order = permutation(source.train.pixels[0].numel(), self._seed, "permutation", index)
        order = order.to(source.train.pixels.device)

        def permute(examples: Examples) -> Examples:
            return replace(examples, permutation=order)

        return source.task(index, f"permutation {index + 1}", permute)


class Split(Scenario):
    """The classes of a data set, equally many in each task, in the order of their labels.

    Labels stay those of the data set and there are logits for all classes. Source: Zenke et al.
    2017; "class" and "task" are class- and task-incremental learning of van de Ven & Tolias 2019.

    Args:
        tasks: Number of tasks; divides the number of classes.
        incremental: "class" to choose among all classes, "task" among those of the task.

    Raises:
        UsageError: If `tasks` does not divide the number of classes.
    """

    def __init__(
        self,
        *,
        data: Path,
        device: torch.device,
        seed: int,
        dataset: str,
        tasks: int = 5,
        incremental: Literal["class", "task"] = "class",
        validation: float = 0.0,
        unknown: str = PERMUTATION,
    ) -> None:
        classes = find_source(dataset).classes
        divisors = [number for number in range(1, classes + 1) if classes % number == 0]
        if tasks not in divisors:
            raise UsageError(
                f"tasks: {tasks} does not divide the {classes} classes of {dataset}; "
                f"use one of {', '.join(map(str, divisors))}."
            )
        source = Prepared(dataset, data=data, device=device, seed=seed, validation=validation)
        options = {"tasks": tasks, "incremental": incremental, "validation": float(validation)}
        super().__init__([source], tasks, options, unknown=unknown, data=data, seed=seed)
        self.gives_task_ids = incremental == "task"

    def _make(self, index: int) -> Task:
        source = self._prepared[0]
        size = self.classes // self._tasks
        first, last = index * size, (index + 1) * size - 1

        def select(examples: Examples) -> Examples:
            labels = examples.labels[examples.rows]
            return replace(examples, rows=examples.rows[(labels >= first) & (labels <= last)])

        among = torch.arange(self.classes, device=source.train.labels.device)
        mask = (among >= first) & (among <= last) if self.gives_task_ids else None
        span = f"{first}-{last}" if size > 1 else f"{first}"
        return source.task(index, f"{find_source(source.name).label} {span}", select, mask)


class Chunked(Scenario):
    """The training data of a data set in parts, equal up to one example, none seen twice.

    All parts are scored on the whole test data. Source: the stream learning of Laborieux et al.
    2021.

    Args:
        seed: Chooses the parts too.
        tasks: Number of parts.

    Raises:
        UsageError: If there are more parts than examples.
    """

    def __init__(
        self,
        *,
        data: Path,
        device: torch.device,
        seed: int,
        dataset: str,
        tasks: int = 10,
        validation: float = 0.0,
        unknown: str = PERMUTATION,
    ) -> None:
        source = Prepared(dataset, data=data, device=device, seed=seed, validation=validation)
        options = {"tasks": tasks, "validation": float(validation)}
        super().__init__([source], tasks, options, unknown=unknown, data=data, seed=seed)
        rows = source.train.rows
        if tasks > len(rows):
            raise UsageError(f"tasks: {tasks} parts of {len(rows)} examples leave some empty.")
        self._chunks = rows[permutation(len(rows), seed, "chunks").to(device)].tensor_split(tasks)

    def _make(self, index: int) -> Task:
        task = self._prepared[0].task(index, f"part {index + 1} of {self._tasks}")
        return replace(task, train=replace(task.train, rows=self._chunks[index]))


class Sequence(Scenario):
    """One data set after another, with one set of logits for all.

    Source: MNIST then Fashion-MNIST in Laborieux et al. 2021.

    Args:
        datasets: Names of the data sets, of equal input shape.
        task_ids: Whether the model may be told the task at test.

    Raises:
        UsageError: If there are none, or their input shapes differ.
    """

    def __init__(
        self,
        *,
        data: Path,
        device: torch.device,
        seed: int,
        datasets: Ordered[str] = _DEFAULT_DATASETS,
        task_ids: bool = False,
        validation: float = 0.0,
        unknown: str = PERMUTATION,
    ) -> None:
        shapes = {name: find_source(name).shape for name in datasets}
        if not shapes:
            raise UsageError("datasets: name at least one.")
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise UsageError(f"datasets: inputs must have one shape, but these differ: {listed}.")
        sources = [
            Prepared(name, data=data, device=device, seed=seed, validation=validation)
            for name in datasets
        ]
        options = {
            "datasets": list(datasets),
            "task_ids": task_ids,
            "validation": float(validation),
        }
        super().__init__(sources, len(sources), options, unknown=unknown, data=data, seed=seed)
        self.gives_task_ids = task_ids

    def _make(self, index: int) -> Task:
        source = self._prepared[index]
        return source.task(index, source.name)
