"""Streams: their tasks and data."""

from collections.abc import Iterator
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.keeping import kept
from bnnlab.interfaces.objectives import Classes, ClassPerPosition, RealNumbers
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab_testing import StreamContract, toy
from broken import found_by, right


class Fine(TaskStream):
    """The kit's toy task, twice."""

    input_shape, classes = toy.INPUT_SHAPE, toy.CLASSES

    def __init__(self, *, data: object, device: torch.device, seed: int) -> None:
        self.seed, self.task = seed, toy.to(toy.make_task(), device)
        self.digest = sha256(self.task.train.pixels.cpu().numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Task:
        return self.change(replace(self.task, index=range(2)[index]))

    def change(self, task: Task) -> Task:
        """Return the task; the wrong ones return a wrong one."""
        return task

    def protocol(self) -> dict[str, Any]:
        return {"scenario": "toy", "data": self.digest}


class Floats(Fine):
    """Has data that are no images."""

    def change(self, task: Task) -> Task:
        pixels = task.train.pixels / 255
        train, test = replace(task.train, pixels=pixels), replace(task.test, pixels=pixels)
        return replace(task, train=train, test=test)


@kept
def shared_task(device: torch.device) -> Task:
    """Load the toy task."""
    return toy.to(toy.make_task(), device)


@found_by("test_data_that_are_kept_are_those_that_are_loaded", "wrote to what .* returned")
class Darkens(Fine):
    """Writes to its data, which another run has loaded."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.task = shared_task(given["device"])
        self.task.train.pixels.sub_(1)


@right("test_a_run_accepts_its_tasks", "test_batches_have_the_conventional_shapes")
class Doubles(Fine):
    """Has data in double precision, which become inputs in single precision."""

    def change(self, task: Task) -> Task:
        pixels = task.train.pixels.double() / 255
        train, test = replace(task.train, pixels=pixels), replace(task.test, pixels=pixels)
        return replace(task, train=train, test=test)


class InDoublePrecision(Examples):
    """Shows inputs in double precision."""

    def batch(self, *given: Any, **more: Any) -> tuple[Tensor, Tensor]:
        inputs, targets = super().batch(*given, **more)
        return inputs.double(), targets


@found_by("test_batches_have_the_conventional_shapes", "inputs are torch.float64")
class Doubled(Fine):
    """Has inputs in double precision."""

    def change(self, task: Task) -> Task:
        its = {field.name: getattr(task.train, field.name) for field in fields(task.train)}
        return replace(task, train=InDoublePrecision(**its))


@found_by("test_tasks_have_names_and_end", "past the last")
class Endless(Fine):
    """Begins again after its end."""

    def __getitem__(self, index: int) -> Task:
        return super().__getitem__(index % 2)


@found_by("test_no_example_is_in_two_parts_of_a_task", "shares examples")
class Leaks(Fine):
    """Trains the second task on a test example."""

    def change(self, task: Task) -> Task:
        rows = torch.cat([task.train.rows, task.test.rows[: task.index]])
        return replace(task, train=replace(task.train, rows=rows))


@found_by("test_a_run_accepts_its_tasks", "part, too")
class LeaksACopy(Fine):
    """Tests on a copy of the training data."""

    def change(self, task: Task) -> Task:
        train = task.train
        return replace(task, test=replace(train, pixels=train.pixels.clone()))


@found_by("test_a_run_accepts_its_tasks", "part, too")
class LeaksACopyAcross(Fine):
    """Trains the second task on a copy of the test data."""

    def change(self, task: Task) -> Task:
        if task.index == 0:
            return task
        copy = replace(task.test, pixels=task.test.pixels.clone())
        return replace(task, train=copy, test=task.test)


@found_by("test_no_copy_of_an_example_is_in_another_part", "3 of 8 .* in the validation part of")
class HoldsOutCopies(Fine):
    """Validates on copies of training examples, among others."""

    def change(self, task: Task) -> Task:
        train = task.train
        held, rest = train.rows[:5], train.rows[5:]
        rows = torch.cat([held, rest[:3]])
        pixels, labels = train.pixels[rows].clone(), train.labels[rows].clone()
        validation = replace(train, pixels=pixels, labels=labels, rows=torch.arange(8))
        return replace(task, train=replace(train, rows=rest), validation=validation)


@found_by("test_no_test_example_is_learned_from_in_any_task", "40 examples of test of task")
class LeaksAcross(Fine):
    """Tests the second task on what the first was trained on."""

    def change(self, task: Task) -> Task:
        if task.index == 0:
            return task
        return replace(task, train=task.test, test=task.train)


@right("test_no_test_example_is_learned_from_in_any_task")
class Darker(Fine):
    """Has darker images in the second task, made anew, and one division."""

    def change(self, task: Task) -> Task:
        pixels = task.train.pixels // (1 + task.index)
        train, test = (replace(part, pixels=pixels) for part in (task.train, task.test))
        return replace(task, train=train, test=test)


@found_by("test_no_test_example_is_learned_from_in_any_task", "40 examples of test of task")
class DividesAnew(Darker):
    """Tests the second task on what the first was trained on, but for the brightness."""

    def change(self, task: Task) -> Task:
        task = super().change(task)
        return replace(task, train=task.test, test=task.train) if task.index else task


@right("test_no_test_example_is_learned_from_in_any_task")
class Apart(Fine):
    """Has images of their own in each part, with labels that are alike."""

    def change(self, task: Task) -> Task:
        train = replace(task.train, pixels=task.train.pixels // (1 + task.index))
        return replace(task, train=train, test=replace(train, pixels=255 - train.pixels))


@found_by("test_no_example_is_in_two_parts_of_a_task", "shares examples")
class Repeats(Fine):
    """Validates on training examples."""

    def change(self, task: Task) -> Task:
        return replace(task, validation=task.train)


@found_by("test_no_test_example_is_learned_from_in_any_task", "8 examples of validation of task 0")
class TrainsOnHeldOut(Fine):
    """Trains the second task on what the first holds out."""

    def change(self, task: Task) -> Task:
        train = task.train
        if task.index:
            return task
        held, rest = (replace(train, rows=rows) for rows in (train.rows[:8], train.rows[8:]))
        return replace(task, train=rest, validation=held)


@found_by("test_a_run_on_validation_accepts_its_tasks", "task 2 .* has no validation part")
class HoldsOutOnce(Fine):
    """Has a validation part in the first task alone."""

    def change(self, task: Task) -> Task:
        return task if task.index else replace(task, validation=task.test, test=task.train)


class _WeighingTask(Task):
    """Weighs the classes by how frequent they are in the test part."""

    @property
    def loss(self) -> Any:
        counts = torch.bincount(self.test.labels[self.test.rows], minlength=toy.CLASSES)
        return lambda logits, targets: F.cross_entropy(logits, targets, counts.to(logits))


@found_by("test_nothing_is_learned_from_the_test_part", "task.test.labels is read")
class WeighsByTheTest(Fine):
    """Has tasks whose loss depends on the test part."""

    def change(self, task: Task) -> Task:
        return _WeighingTask(task.index, task.name, task.train, task.test)


@found_by("test_a_run_accepts_its_tasks", "labels of the train part")
class Mislabelled(Fine):
    """Has a class too many."""

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, labels=task.train.labels + 1))


@found_by("test_a_run_accepts_its_tasks", "labels of .* must be int64")
class OddTypes(Fine):
    """Has 32-bit labels."""

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, labels=task.train.labels.int()))


@found_by("test_a_run_accepts_its_tasks", "has the index 0")
class NumbersAllZero(Fine):
    """Calls each task the first."""

    def change(self, task: Task) -> Task:
        return replace(task, index=0)


@found_by("test_a_run_accepts_its_tasks")
class Miscounts(Fine):
    """Has a task more than it says, for who iterates."""

    def __iter__(self) -> Iterator[Task]:
        yield from super().__iter__()
        yield replace(self.task, index=len(self))


@found_by("test_a_run_accepts_its_tasks")
class ShowsAnotherShape(Fine):
    """Has inputs of no task that no model of its takes."""

    def out_of_distribution(self) -> Examples:
        test = self.task.test
        return replace(test, pixels=test.pixels[..., 1:])


@found_by("test_a_run_accepts_its_tasks")
class KnowsTheUnknown(Fine):
    """Has inputs of no task that are a task's."""

    def out_of_distribution(self) -> Examples:
        return self.task.test


class _Sum(Classes):
    """Adds the losses of a batch up."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="sum")


@found_by("test_the_loss_is_the_mean_of_the_batch", "is no mean")
class AddsLossesUp(Fine):
    """Has tasks whose loss is no mean."""

    def change(self, task: Task) -> Task:
        return replace(task, objective=_Sum())


class FineNumbers(Fine):
    """Has real numbers for targets."""

    fields = {"requires": frozenset({"any-loss"})}
    classes = 2

    def change(self, task: Task) -> Task:
        numbers = torch.stack([task.train.labels.float(), -task.train.labels.float()], 1)
        train, test = (replace(part, labels=numbers) for part in (task.train, task.test))
        return replace(task, train=train, test=test, objective=RealNumbers())


class FineTokens(Fine):
    """Has token ids, and a class for each."""

    provides = ["token-ids"]
    fields = {"requires": frozenset({"any-loss", "token-inputs"})}
    input_shape, tokens, classes = (36,), 256, 2

    def change(self, task: Task) -> Task:
        ids = task.train.pixels.flatten(1).long()
        plain = {"pixels": ids, "labels": ids % 2, "mean": None, "std": None}
        train, test = (replace(part, **plain) for part in (task.train, task.test))
        return replace(task, train=train, test=test, objective=ClassPerPosition())


for _made in (FineNumbers, FineTokens):
    right(*(name for name in dir(StreamContract) if name.startswith("test_")))(_made)


@found_by("test_what_its_data_need_is_declared", "it needs 'any-loss': see `requires`")
class SaysNothingOfNumbers(FineNumbers):
    """Does not declare what rules its targets need."""

    fields = {}


@found_by("test_what_its_data_need_is_declared", "it needs 'token-inputs': see `requires`")
class SaysNothingOfTokens(FineTokens):
    """Does not declare what models its inputs need."""

    fields = {"requires": frozenset({"any-loss"})}


@found_by("test_what_its_data_need_is_declared", "are token ids: let it provide 'token-ids'")
class SaysNothingToModels(FineTokens):
    """Does not declare what its inputs are."""

    provides = []


@found_by("test_a_run_accepts_its_tasks", "numbers must be uint8 or float32. If they are token ids")
class HidesTokens(FineTokens):
    """Does not say how many token ids there are."""

    tokens = None


@found_by("test_a_task_is_the_same_at_every_call", "asked for again, it is other data")
@found_by("test_the_global_state_is_left_alone", "generator")
class Shuffles(Fine):
    """Is in another order each time it is looked at."""

    def change(self, task: Task) -> Task:
        rows = task.train.rows[torch.randperm(len(task.train))]
        return replace(task, train=replace(task.train, rows=rows))


@found_by("test_a_task_is_the_same_at_every_call", "asked for again, it is other data")
class RelabelsAnew(Fine):
    """Draws an order of the classes each time it is asked for a task."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.draws = torch.Generator().manual_seed(self.seed)

    def change(self, task: Task) -> Task:
        order = torch.randperm(self.classes, generator=self.draws)
        labels = order.to(task.train.labels.device)[task.train.labels]
        train, test = (replace(part, labels=labels) for part in (task.train, task.test))
        return replace(task, train=train, test=test)


@found_by("test_only_what_is_trained_on_is_augmented", "augmented: test of task 0")
class AugmentsAll(Fine):
    """Turns test images around, too."""

    def change(self, task: Task) -> Task:
        return replace(task, test=replace(task.test, augment=lambda images, _: images.flip(-1)))


@found_by("test_task_ids_are_given_exactly_where_declared")
class TellsTasks(Fine):
    """Gives task identities without saying so."""

    gives_task_ids = True


@found_by("test_a_run_accepts_its_tasks", "gives_task_ids is false")
class MasksUntold(Fine):
    """Chooses among some classes, though nobody is told the task."""

    def change(self, task: Task) -> Task:
        return replace(task, classes=torch.ones(self.classes, dtype=torch.bool))


@found_by("test_a_run_accepts_its_tasks", "must be bool of shape")
class MasksByNumber(Fine):
    """Has a mask of integers, which `~` does not negate."""

    provides = ["task-ids"]
    gives_task_ids = True

    def change(self, task: Task) -> Task:
        return replace(task, classes=torch.ones(self.classes, dtype=torch.int64))


@found_by("test_a_run_accepts_its_tasks", "labels of the test part")
class Underlabelled(Fine):
    """Has labels below zero."""

    def change(self, task: Task) -> Task:
        return replace(task, test=replace(task.test, labels=task.test.labels - 1))


@found_by("test_an_interrupted_run_goes_on_bit_for_bit", "a run goes another way")
class CountsCalls(Fine):
    """Brightens images by how often it was asked for some."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.calls = 0

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, augment=self.brighten))

    def brighten(self, images: Tensor, _: torch.Generator) -> Tensor:
        self.calls += 1
        return images.clamp(max=255 - self.calls) + self.calls
