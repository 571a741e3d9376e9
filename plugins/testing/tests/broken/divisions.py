"""Streams: how they divide and label examples, and what of the division a constant decides."""

import os
import random
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.objectives import RealNumbers
from bnnlab.interfaces.stream import Task
from bnnlab.seeds import permutation
from broken import found_by, right
from broken.protocols import CHANGES
from broken.readings import PROCESSES
from broken.streams import Fine

LEARNED = "test_every_class_is_learned"
KNOWN = "test_known_tasks_say_their_classes"
HELD = "test_what_is_held_out_is_training_data"
ORDERS = "test_the_order_of_pixels_follows_the_seed"
NEW = "test_no_test_example_is_a_changed_training_example"
SEEDED = "test_labels_and_classes_follow_the_seed"
LABELS = "test_a_label_means_the_same_in_every_part"


def relabelled(part: Examples, change: Any) -> Examples:
    return replace(part, labels=change(part.labels))


def of_classes(task: Task, *classes: int) -> Task:
    """Return a task with the examples of some classes alone."""

    def only(part: Examples) -> Examples:
        wanted = torch.tensor(classes, device=part.rows.device)
        return replace(part, rows=part.rows[torch.isin(part.labels[part.rows], wanted)])

    return replace(task, train=only(task.train), test=only(task.test))


@found_by(LEARNED, "1 of 3 classes are those of no training example of any task, first 2")
class NumbersEachTaskAnew(Fine):
    """Numbers the classes of each task from 0, and has logits for those of the data set."""

    def change(self, task: Task) -> Task:
        train, test = (relabelled(part, lambda y: y % 2) for part in (task.train, task.test))
        return replace(task, train=train, test=test)


@right(LEARNED)
class AsksForEvenAndOdd(NumbersEachTaskAnew):
    """Has two classes, which are the same in each task."""

    classes = 2


@found_by(LEARNED, "7 of 10 classes are")
class HasTenClasses(Fine):
    """Says that there are ten classes, and has three."""

    classes = 10


@found_by(KNOWN, "two tasks have no class in common, and neither says its classes")
class SaysNoClasses(Fine):
    """Tells which task it is, and not what that says of the classes."""

    provides = ["task-ids"]
    gives_task_ids = True

    def change(self, task: Task) -> Task:
        return of_classes(task, *([1, 2] if task.index else [0]))


@right(KNOWN)
class SaysItsClasses(SaysNoClasses):
    """Says the classes, too."""

    def change(self, task: Task) -> Task:
        its = torch.arange(self.classes, device=task.train.rows.device) > 0
        return replace(super().change(task), classes=its if task.index else ~its)


@right(KNOWN)
class HasAllClassesInEachTask(SaysNoClasses):
    """Has tasks with the same classes."""

    def change(self, task: Task) -> Task:
        return task


@right(HELD)
class HoldsOut(Fine):
    """Holds out a share of the training data."""

    declared = "Option('validation', float, 0.0, 'Share that is held out.', minimum=0, below=1),"

    def __init__(self, *, validation: float = 0.0, **given: Any) -> None:
        super().__init__(**given)
        self.share = validation

    def change(self, task: Task) -> Task:
        held, rest = self.parted(task.train)
        return replace(task, train=rest, validation=held if len(held) else None)

    def parted(self, part: Examples) -> list[Examples]:
        """Return the share of a part, and the rest."""
        count = int(self.share * len(part))
        return [replace(part, rows=rows) for rows in (part.rows[:count], part.rows[count:])]


@right(HELD)
class ScalesTargetsByTheTrainingPart(HoldsOut):
    """Has targets whose scale is that of what is learned."""

    def change(self, task: Task) -> Task:
        task = super().change(task)
        y = task.train.labels[task.train.rows].float()

        def scaled(part: Examples) -> Examples:
            return relabelled(part, lambda labels: ((labels - y.mean()) / y.std())[:, None])

        train, test = scaled(task.train), scaled(task.test)
        return replace(task, train=train, test=test, validation=None, objective=RealNumbers())


@found_by(HELD, "with validation=0.25, a test part holds other examples")
class HoldsOutTestData(HoldsOut):
    """Holds out a share of the test data."""

    def change(self, task: Task) -> Task:
        held, rest = self.parted(task.test)
        return replace(task, test=rest, validation=held if len(held) else None)


@right(ORDERS)
class Permutes(Fine):
    """Has another order of the pixels in each task."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.orders = [order.to(given["device"]) for order in self.drawn()]

    def drawn(self) -> list[Tensor]:
        return [permutation(36, self.seed, "pixels", index) for index in range(2)]

    def change(self, task: Task) -> Task:
        order = self.orders[task.index]
        train, test = (replace(part, permutation=order) for part in (task.train, task.test))
        return replace(task, train=train, test=test)


@found_by(ORDERS, r"has a fixed seed, at divisions.py:\d+")
class PermutesByNumpy(Permutes):
    """Has the same orders in each repetition."""

    def drawn(self) -> list[Tensor]:
        draws = np.random.default_rng(0)
        return [torch.from_numpy(draws.permutation(36)) for _ in range(2)]


@found_by(ORDERS, r"has a fixed seed, at divisions.py:\d+")
class PermutesByNumpysFirst(Permutes):
    """Has the same orders in each repetition."""

    def drawn(self) -> list[Tensor]:
        return [torch.from_numpy(np.random.RandomState(n).permutation(36)) for n in range(2)]


@found_by(ORDERS, r"has a fixed seed, at divisions.py:\d+")
class PermutesByPython(Permutes):
    """Has the same orders in each repetition."""

    def drawn(self) -> list[Tensor]:
        draws = random.Random(1)
        return [torch.tensor(draws.sample(range(36), 36)) for _ in range(2)]


@found_by(ORDERS, r"has a fixed seed, at divisions.py:\d+")
class PermutesByTorch(Permutes):
    """Has the same orders in each repetition."""

    def drawn(self) -> list[Tensor]:
        draws = torch.Generator().manual_seed(42)
        return [torch.randperm(36, generator=draws) for _ in range(2)]


@right(SEEDED)
class HasWrongLabels(Fine):
    """Has a wrong label for some training examples."""

    constant = False

    def change(self, task: Task) -> Task:
        draws = permutation(40, 5 if self.constant else self.seed, "wrong")[:20]
        labels, rows = task.train.labels.clone(), task.train.rows
        labels[rows[draws]] = (labels[rows[draws]] + 1) % self.classes
        return replace(task, train=replace(task.train, labels=labels))


@found_by(SEEDED, r"what labels inputs, .* has a fixed seed, at divisions.py:\d+")
class HasTheSameWrongLabels(HasWrongLabels):
    """Has the same ones in each repetition."""

    constant = True


@right(SEEDED)
class OrdersItsClasses(Fine):
    """Has one class in the first task, and the others in the second."""

    constant = False

    def change(self, task: Task) -> Task:
        order = permutation(3, 5 if self.constant else self.seed, "classes").tolist()
        return of_classes(task, *(order[1:] if task.index else order[:1]))


@found_by(SEEDED, r"orders the classes of tasks, has a fixed seed, at divisions.py:\d+")
class OrdersItsClassesOnce(OrdersItsClasses):
    """Has the same order in each repetition."""

    constant = True


@right(ORDERS, SEEDED)
class TurnsAndDivides(Fine):
    """Turns the images by an angle per task, and has one division in all repetitions."""

    def change(self, task: Task) -> Task:
        pixels = torch.rot90(task.train.pixels, task.index, (2, 3))
        rows = permutation(60, 0, "division").to(task.train.rows.device)
        train = replace(task.train, pixels=pixels, rows=rows[:40])
        return replace(task, train=train, test=replace(train, rows=rows[40:]))


class TestsOnTraining(Fine):
    """Makes test images of training images."""

    def change(self, task: Task) -> Task:
        train = replace(task.train, pixels=task.train.pixels.float())
        return replace(task, train=train, test=replace(train, pixels=self.changed(train.pixels)))

    def changed(self, images: Tensor) -> Tensor:
        """Return other images."""
        raise NotImplementedError


ANOTHER = "100% of the test examples of 'toy' are training examples whose numbers are in another"


@found_by(NEW, ANOTHER)
class TestsOnMirrored(TestsOnTraining):
    """Tests on what it learned, mirrored."""

    def changed(self, images: Tensor) -> Tensor:
        return images.flip(-1)


@found_by(NEW, ANOTHER)
class TestsOnInverted(TestsOnTraining):
    """Tests on what it learned, inverted and turned."""

    def changed(self, images: Tensor) -> Tensor:
        return 255 - images.rot90(1, (2, 3))


@found_by(NEW, "are training examples with a little noise")
class TestsOnNoisy(TestsOnTraining):
    """Tests on what it learned, with noise."""

    def changed(self, images: Tensor) -> Tensor:
        draws = torch.Generator().manual_seed(self.seed)
        return images + torch.randn(images.shape, generator=draws).to(images.device)


@found_by(NEW, "of the test examples of 'toy' are training examples with a little noise")
class CopiesBeforeItDivides(Fine):
    """Adds noisy copies of its images, and divides all of them then."""

    def change(self, task: Task) -> Task:
        draws = torch.Generator().manual_seed(self.seed)
        pixels, labels = (torch.cat([each] * 4) for each in (task.train.pixels, task.train.labels))
        noise = torch.randn(pixels.shape, generator=draws)
        rows = torch.randperm(240, generator=draws)
        train = replace(task.train, pixels=pixels + noise, labels=labels, rows=rows[:160])
        return replace(task, train=train, test=replace(train, rows=rows[160:]))


@right(NEW, LABELS)
class TestsOnMirroredOnes(Fine):
    """Tests on mirrored images that were not learned."""

    def change(self, task: Task) -> Task:
        return replace(task, test=replace(task.test, pixels=task.test.pixels.flip(-1)))


@right(NEW)
class HasRanks(Fine):
    """Has rows of the same numbers, by nature."""

    def change(self, task: Task) -> Task:
        ranks = task.train.pixels.flatten(1).argsort(1).float().view_as(task.train.pixels)
        train, test = (replace(part, pixels=ranks) for part in (task.train, task.test))
        return replace(task, train=train, test=test)


@right(NEW, LABELS)
class HasOneOfEachClass(Fine):
    """Learns from one example of each class."""

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, rows=task.train.rows[:3]))


@found_by(LABELS, "has the label 0 in the test part of 'toy' is like what has the label 2 in its")
class NumbersTestLabelsAnew(Fine):
    """Numbers the classes of the test part in another order."""

    def change(self, task: Task) -> Task:
        return replace(task, test=relabelled(task.test, lambda y: (y + 1) % 3))


@found_by(CHANGES, r"size=0.5, noise=True changes the data, but not the protocol")
class HidesASizeBesideASwitch(Fine):
    """Has brighter images, if it is told so, without a word in the protocol of how bright."""

    declared = (
        "Option('noise', bool, False, 'Whether.'), Option('size', float, 1.0, 'How.', above=0),"
    )

    def __init__(self, *, noise: bool = False, size: float = 1.0, **given: Any) -> None:
        super().__init__(**given)
        self.noise, self.size = noise, size

    def change(self, task: Task) -> Task:
        pixels = task.train.pixels + (self.size if self.noise else 0.0)
        train, test = (replace(part, pixels=pixels) for part in (task.train, task.test))
        return replace(task, train=train, test=test)

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "noise": self.noise}


@found_by(CHANGES, r"size=.*changes the data, but not the protocol")
class RoundsASize(Fine):
    """Has brighter images, and says in whole numbers how bright."""

    declared = "Option('size', float, 1.0, 'How.', above=0),"

    def __init__(self, *, size: float = 1.0, **given: Any) -> None:
        super().__init__(**given)
        self.size = size

    def change(self, task: Task) -> Task:
        pixels = task.train.pixels + self.size
        train, test = (replace(part, pixels=pixels) for part in (task.train, task.test))
        return replace(task, train=train, test=test)

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "size": round(self.size, 1)}


@found_by(PROCESSES, "train of task 0: other in another process")
class OrdersByCores(Fine):
    """Has its rows in the order in which so many workers read them."""

    def change(self, task: Task) -> Task:
        rows = task.train.rows.roll(os.cpu_count() or 1)
        return replace(task, train=replace(task.train, rows=rows))
