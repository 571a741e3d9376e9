"""The scenarios: ways to make tasks from data sets."""

import logging
import math
from collections.abc import Sequence as Ordered
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import torch

from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task
from bnnlab.markers import AtLeast, AtMost
from bnnlab.seeds import permutation
from bnnlab_vision.datasets import find_source
from bnnlab_vision.dividing import places
from bnnlab_vision.preparation import padded_shape
from bnnlab_vision.rotation import rotated, rotation_map
from bnnlab_vision.scenario import Scenario
from bnnlab_vision.source import Source
from bnnlab_vision.splitting import USUAL, chosen_classes, number_of_tasks, span
from bnnlab_vision.view import View

log = logging.getLogger("bnnlab.vision")  # below `bnnlab`, which the command line shows

PUBLISHED_ANGLES = 20
"""Tasks of rotated MNIST in Lopez-Paz & Ranzato 2017 and in mammoth."""


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


class Rotated(Scenario):
    """The whole data set in each task, turned by another angle.

    A pixel shows the nearest one before the rotation; beyond the image it is black. Sources:
    Lopez-Paz & Ranzato 2017; 20 angles below 180 degrees as in mammoth (Buzzega et al. 2020).

    Args:
        dataset: The data set, by name or as a source.
        tasks: Number of tasks. The seed draws an angle for each: whole degrees from 0 to 179, none
            twice. none: one per angle that is given; 20 without any.
        angles: Angle of each task in degrees, counter-clockwise. Empty: the seed draws them.
        task_ids: Whether the task is known in evaluation.
        given: Options of `Scenario`.

    Raises:
        UsageError: If `tasks` is another number than that of the angles.
    """

    scenario = "rotated"

    def __init__(
        self,
        *,
        dataset: str | Source,
        tasks: Annotated[int | None, AtLeast(1), AtMost(180)] = None,
        angles: Ordered[float] = (),
        task_ids: bool = False,
        **given: Any,
    ) -> None:
        if angles and tasks not in (None, len(angles)):
            raise UsageError(f"tasks: {tasks}, but there are {len(angles)} angles. Leave it out.")
        count = len(angles) or tasks or PUBLISHED_ANGLES
        options: dict[str, Any] = {"tasks": count, "task_ids": task_ids}
        if angles:
            options["angles"] = [float(angle) for angle in angles]
        super().__init__(datasets=[dataset], tasks=count, options=options, **given)
        self.gives_task_ids = task_ids
        drawn = permutation(180, self._seed, "angles").tolist()
        self._angles = [*angles] or drawn[:count]

    def _make(self, index: int) -> Task:
        angle, shape = self._angles[index], self.input_shape
        _, height, width = shape
        shown = rotation_map(height, width, angle).to(self._prepared[0].train.rows.device)

        def turn(examples: Examples) -> Examples:
            images = View(examples.pixels, partial(rotated, shown=shown), shape)
            said = f"turned counter-clockwise by {angle:g} degrees"
            return replace(examples, pixels=images, prepared=(*examples.prepared, said))

        return self._prepared[0].task(index, f"{angle:g} degrees", turn)


class Split(Scenario):
    """Equally many classes of a data set per task.

    There are logits for the classes of all tasks. Sources: Zenke et al. 2017; for class- and
    task-incremental learning van de Ven & Tolias 2019.

    Args:
        dataset: The data set, by name or as a source.
        tasks: Number of tasks. It must divide the number of classes. none: the largest number up to
            5 that leaves two classes or more per task; if there is none, one class per task.
        incremental: class: class-incremental; predictions are among all classes. task:
            task-incremental; the task is known in evaluation, predictions are among its classes.
        labels: Labels of the classes that are learned, in their order. The classes are numbered
            from 0 if they are not all. Empty: all, in the order of the labels.
        order: seed: the seed shuffles these classes (`permute_classes` of mammoth, Buzzega et al.
            2020). labels: it does not.
        given: Options of `Scenario`.

    Raises:
        UsageError: If `tasks` does not divide the number of classes, or a class is unknown or named
            twice.
    """

    scenario = "split"

    def __init__(
        self,
        *,
        dataset: str | Source,
        tasks: Annotated[int | None, AtLeast(1)] = USUAL,
        incremental: Literal["class", "task"] = "class",
        labels: Ordered[int] = (),
        order: Literal["labels", "seed"] = "labels",
        **given: Any,
    ) -> None:
        source = find_source(dataset)
        learned = chosen_classes(source, labels)
        tasks = number_of_tasks(source.name, len(learned), tasks)
        options: dict[str, Any] = {"tasks": tasks, "incremental": incremental}
        if labels:
            options["labels"] = learned
        if order == "seed":
            options["order"] = order
            places = permutation(len(learned), given["seed"], "classes").tolist()
            learned = [learned[place] for place in places]
        if len(learned) < source.classes:
            self.learned = sorted(learned)
        super().__init__(datasets=[source], tasks=tasks, options=options, **given)
        size = len(learned) // tasks
        self._groups = [learned[first : first + size] for first in range(0, len(learned), size)]
        self.gives_task_ids = incremental == "task"
        if self.gives_task_ids and size == 1:
            log.warning("each task has one class: with incremental=task, every prediction is right")

    def _make(self, index: int) -> Task:
        prepared, group = self._prepared[0], self._groups[index]
        places = [self.learned.index(label) for label in group] if self.learned else group
        wanted = torch.tensor(places, device=prepared.train.labels.device)

        def select(examples: Examples) -> Examples:
            own = torch.isin(examples.labels[examples.rows], wanted)
            return replace(examples, rows=examples.rows[own])

        among = torch.arange(self.classes, device=wanted.device)
        mask = torch.isin(among, wanted) if self.gives_task_ids else None
        return prepared.task(index, f"{prepared.source.label} {span(group)}", select, mask)


class Chunked(Scenario):
    """The training data of a data set in equal parts, one part per task.

    All tasks are evaluated on the whole test data. Source: stream learning in Laborieux et al.
    2021.

    Args:
        dataset: The data set, by name or as a source.
        tasks: Number of parts. Their sizes differ by at most one image.
        given: Options of `Scenario`. The seed also chooses the parts.

    Raises:
        UsageError: If there are more parts than images.
    """

    scenario = "chunked"

    def __init__(
        self, *, dataset: str | Source, tasks: Annotated[int, AtLeast(1)] = 10, **given: Any
    ) -> None:
        super().__init__(datasets=[dataset], tasks=tasks, options={"tasks": tasks}, **given)
        rows, image = self._prepared[0].train.rows, self._prepared[0].image
        place, count = places(rows, image, self._seed, "chunks")
        if tasks > count:
            raise UsageError(f"tasks: {tasks} parts of {count} images leave some empty.")
        place, order = place.cpu().sort(stable=True)
        firsts = [int(part[0]) for part in torch.arange(count).tensor_split(tasks)]
        cuts = torch.searchsorted(place, torch.tensor(firsts[1:], dtype=place.dtype))
        self._chunks = rows[order.to(rows.device)].tensor_split(cuts)

    def _make(self, index: int) -> Task:
        task = self._prepared[0].task(index, f"part {index + 1} of {self._tasks}")
        return replace(task, train=replace(task.train, rows=self._chunks[index]))


class Sequence(Scenario):
    """One data set per task, with the same logits for all.

    Source: MNIST then Fashion-MNIST in Laborieux et al. 2021.

    Args:
        datasets: Data sets in order, with inputs of one shape, from: digits, mnist, fashion-mnist,
            kmnist, emnist-byclass, emnist-bymerge, emnist-balanced, emnist-letters, emnist-digits,
            emnist-mnist, usps, svhn, cifar10, cifar100.
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
        side = given.get("side")
        shapes = {name: padded_shape(find_source(name), side) for name in datasets}
        if not shapes:
            raise UsageError("datasets: name at least one.")
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise UsageError(
                f"datasets: inputs must have one shape, but these differ: {listed}. `side` gives "
                "smaller images a border."
            )
        options = {"datasets": list(datasets), "task_ids": task_ids}
        super().__init__(datasets=datasets, tasks=len(datasets), options=options, **given)
        self.gives_task_ids = task_ids

    def _make(self, index: int) -> Task:
        prepared = self._prepared[index]
        return prepared.task(index, prepared.source.name)
