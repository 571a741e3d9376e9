"""The scenarios: ways to make tasks from data sets."""

import logging
import math
from collections.abc import Sequence as Ordered
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch

from bnnlab.errors import NOTE, UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task
from bnnlab.markers import AtLeast
from bnnlab.seeds import permutation
from bnnlab_vision.datasets import find_source
from bnnlab_vision.scenario import Scenario
from bnnlab_vision.source import Source

log = logging.getLogger("bnnlab.vision")  # below `bnnlab`, which the command line shows

USUAL = 5
"""Tasks of a split, where the number of classes allows it."""


class Single(Scenario):
    """A data set as one task.

    Args:
        dataset: The data set, by name or as a source.
        given: Options of `Scenario`.
    """

    scenario = "single"

    def __init__(self, *, dataset: str | Source, **given: Any) -> None:
        super().__init__(datasets=[dataset], tasks=1, options={}, **given)

    def _make(self, index: int) -> Task:
        prepared = self._prepared[0]
        return prepared.task(index, prepared.source.name)


class Permuted(Scenario):
    """The whole data set in each task, with another pixel order. The first task is permuted, too.

    Input i of task t is pixel π_t(i) of the C*H*W. Source: Goodfellow et al. 2013;
    Kirkpatrick et al. 2017.

    Args:
        dataset: The data set, by name or as a source.
        tasks: Number of tasks. Each has a permutation of its own.
        task_ids: Whether the task is known in evaluation.
        given: Options of `Scenario`. The seed also chooses the permutations.
    """

    scenario = "permuted"
    permutes = True

    def __init__(
        self,
        *,
        dataset: str | Source,
        tasks: Annotated[int, AtLeast(1)] = 10,
        task_ids: bool = False,
        **given: Any,
    ) -> None:
        options = {"tasks": tasks, "task_ids": task_ids}
        super().__init__(datasets=[dataset], tasks=tasks, options=options, **given)
        self.gives_task_ids = task_ids

    def _make(self, index: int) -> Task:
        prepared = self._prepared[0]
        order = permutation(math.prod(self.input_shape), self._seed, "permutation", index)
        order = order.to(prepared.train.rows.device)

        def permute(examples: Examples) -> Examples:
            return replace(examples, permutation=order)

        return prepared.task(index, f"permutation {index + 1}", permute)


class Split(Scenario):
    """Equally many classes of a data set per task, in the order of the labels.

    Labels are those of the data set, and there are logits for all classes. Sources: Zenke et al.
    2017; for class- and task-incremental learning van de Ven & Tolias 2019.

    Args:
        dataset: The data set, by name or as a source.
        tasks: Number of tasks. It must divide the number of classes. none: the largest number up to
            5 that leaves two classes or more per task; if there is none, one class per task.
        incremental: class: class-incremental; predictions are among all classes. task:
            task-incremental; the task is known in evaluation, predictions are among its classes.
        given: Options of `Scenario`.

    Raises:
        UsageError: If `tasks` does not divide the number of classes.
    """

    scenario = "split"

    def __init__(
        self,
        *,
        dataset: str | Source,
        tasks: Annotated[int | None, AtLeast(1)] = USUAL,
        incremental: Literal["class", "task"] = "class",
        **given: Any,
    ) -> None:
        source = find_source(dataset)
        tasks = _number_of_tasks(source, tasks)
        options = {"tasks": tasks, "incremental": incremental}
        super().__init__(datasets=[source], tasks=tasks, options=options, **given)
        self.gives_task_ids = incremental == "task"
        if self.gives_task_ids and tasks == source.classes:
            log.warning("each task has one class: with incremental=task, every prediction is right")

    def _make(self, index: int) -> Task:
        prepared = self._prepared[0]
        size = self.classes // self._tasks
        first, last = index * size, (index + 1) * size - 1

        def select(examples: Examples) -> Examples:
            labels = examples.labels[examples.rows]
            return replace(examples, rows=examples.rows[(labels >= first) & (labels <= last)])

        among = torch.arange(self.classes, device=prepared.train.labels.device)
        mask = (among >= first) & (among <= last) if self.gives_task_ids else None
        span = f"{first}-{last}" if size > 1 else f"{first}"
        return prepared.task(index, f"{prepared.source.label} {span}", select, mask)


def _number_of_tasks(source: Source, said: int | None) -> int:
    """Return how many tasks the classes of a data set are split into; a note says a choice.

    Raises:
        UsageError: If the number that was said does not divide the classes.
    """
    classes = source.classes
    divisors = [number for number in range(1, classes + 1) if classes % number == 0]
    listed = ", ".join(map(str, divisors))
    if said is not None:
        if said not in divisors:
            raise UsageError(
                f"tasks: {said} does not divide the {classes} classes of {source.name}; "
                f"use one of {listed}."
            )
        return said
    usual = [number for number in divisors if 1 < number <= USUAL and classes // number > 1]
    tasks = max(usual, default=classes)
    log.log(
        NOTE,
        "%s: its %d classes are learned in %d tasks. stream.tasks may be %s",
        *(source.name, classes, tasks, listed),
    )
    return tasks


class Chunked(Scenario):
    """The training data of a data set in equal parts, one part per task.

    All tasks are evaluated on the whole test data. Source: stream learning in Laborieux et al.
    2021.

    Args:
        dataset: The data set, by name or as a source.
        tasks: Number of parts. Their sizes differ by at most one example.
        given: Options of `Scenario`. The seed also chooses the parts.

    Raises:
        UsageError: If there are more parts than examples.
    """

    scenario = "chunked"

    def __init__(
        self, *, dataset: str | Source, tasks: Annotated[int, AtLeast(1)] = 10, **given: Any
    ) -> None:
        super().__init__(datasets=[dataset], tasks=tasks, options={"tasks": tasks}, **given)
        rows = self._prepared[0].train.rows
        if tasks > len(rows):
            raise UsageError(f"tasks: {tasks} parts of {len(rows)} examples leave some empty.")
        order = permutation(len(rows), self._seed, "chunks").to(rows.device)
        self._chunks = rows[order].tensor_split(tasks)

    def _make(self, index: int) -> Task:
        task = self._prepared[0].task(index, f"part {index + 1} of {self._tasks}")
        return replace(task, train=replace(task.train, rows=self._chunks[index]))


class Sequence(Scenario):
    """One data set per task, with the same logits for all.

    Source: MNIST then Fashion-MNIST in Laborieux et al. 2021.

    Args:
        datasets: Data sets in order, with inputs of one shape, from: digits, mnist, fashion-mnist,
            cifar10, cifar100.
        task_ids: Whether the task is known in evaluation.
        given: Options of `Scenario`.

    Raises:
        UsageError: If there are none, or their input shapes differ.
    """

    scenario = "sequence"

    def __init__(
        self,
        *,
        datasets: Ordered[str] = ("mnist", "fashion-mnist"),
        task_ids: bool = False,
        **given: Any,
    ) -> None:
        shapes = {name: find_source(name).shape for name in datasets}
        if not shapes:
            raise UsageError("datasets: name at least one.")
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise UsageError(f"datasets: inputs must have one shape, but these differ: {listed}.")
        options = {"datasets": list(datasets), "task_ids": task_ids}
        super().__init__(datasets=datasets, tasks=len(datasets), options=options, **given)
        self.gives_task_ids = task_ids

    def _make(self, index: int) -> Task:
        prepared = self._prepared[index]
        return prepared.task(index, prepared.source.name)
