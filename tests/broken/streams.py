"""Streams."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.stream import Examples, Task, TaskStream
from bnnlab.testing import toy
from broken import found_by, right

PROTOCOL = "test_an_option_that_changes_the_data_changes_the_protocol"


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


@right
class Floats(Fine):
    """Has data that are no images."""

    def change(self, task: Task) -> Task:
        pixels = task.train.pixels / 255
        train, test = replace(task.train, pixels=pixels), replace(task.test, pixels=pixels)
        return replace(task, train=train, test=test)


@found_by("test_batches_have_the_conventional_shapes")
class Doubled(Fine):
    """Has data in double precision."""

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, pixels=task.train.pixels.double()))


@found_by("test_tasks_are_numbered_and_end")
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


@found_by("test_no_test_data_is_a_copy_of_what_is_learned_from", "are learned from")
@found_by("test_a_run_accepts_its_tasks")
class LeaksACopy(Fine):
    """Tests on a copy of the training data."""

    def change(self, task: Task) -> Task:
        train = task.train
        return replace(task, test=replace(train, pixels=train.pixels.clone()))


@found_by("test_no_test_data_is_a_copy_of_what_is_learned_from", "are learned from")
class LeaksACopyAcross(Fine):
    """Trains the second task on a copy of the test data."""

    def change(self, task: Task) -> Task:
        if task.index == 0:
            return task
        copy = replace(task.test, pixels=task.test.pixels.clone())
        return replace(task, train=copy, test=task.test)


@found_by("test_no_test_example_is_learned_from_in_any_task", "test examples")
class LeaksAcross(Fine):
    """Tests the second task on what the first was trained on."""

    def change(self, task: Task) -> Task:
        if task.index == 0:
            return task
        return replace(task, train=task.test, test=task.train)


@found_by("test_no_example_is_in_two_parts_of_a_task", "shares examples")
class Repeats(Fine):
    """Validates on training examples."""

    def change(self, task: Task) -> Task:
        return replace(task, validation=task.train)


@found_by("test_labels_are_classes")
class Mislabelled(Fine):
    """Has a class too many."""

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, labels=task.train.labels + 1))


@found_by("test_batches_have_the_conventional_shapes")
class OddTypes(Fine):
    """Has 32-bit labels."""

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, labels=task.train.labels.int()))


@found_by("test_the_protocol_is_data_and_does_not_hold_the_seed")
class TellsTheSeed(Fine):
    """Has the seed in its protocol."""

    def protocol(self) -> dict[str, Any]:
        return {"seed": self.seed}


@found_by("test_the_protocol_is_data_and_does_not_hold_the_seed")
class NoData(Fine):
    """Has what JSON does not know in its protocol."""

    def protocol(self) -> dict[str, Any]:
        return {"pixels": self.task.train.pixels}


@found_by("test_the_protocol_is_data_and_does_not_hold_the_seed")
class SaysNothing(Fine):
    """Has an empty protocol."""

    def protocol(self) -> dict[str, Any]:
        return {}


@found_by("test_the_protocol_names_the_data_by_a_digest", "no digest")
class SaysTheSame(Fine):
    """Has the same protocol whatever its data are."""

    def protocol(self) -> dict[str, Any]:
        return {"scenario": "toy", "tasks": len(self)}


@found_by("test_tasks_are_numbered_and_end")
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


@right
class FineShare(Fine):
    """Can leave out some of the training data."""

    declared = "Option('share', float, 1.0, 'Part of the data.', above=0, maximum=1),"

    def __init__(self, *, share: float = 1.0, **given: Any) -> None:
        super().__init__(**given)
        self.share = share

    def change(self, task: Task) -> Task:
        rows = task.train.rows[: int(self.share * len(task.train))]
        return replace(task, train=replace(task.train, rows=rows))

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "share": self.share}


@found_by(PROTOCOL, "changes the data, but not the protocol")
class HidesAShare(FineShare):
    """Leaves out training data without a word in the protocol."""

    def protocol(self) -> dict[str, Any]:
        return {"scenario": "toy"}


@found_by(PROTOCOL, "changes the data, but not the protocol")
class HidesANumber(Fine):
    """Has as many tasks as it is told, without a word in the protocol."""

    declared = "Option('tasks', int, 2, 'Number of tasks.', minimum=1),"

    def __init__(self, *, tasks: int = 2, **given: Any) -> None:
        super().__init__(**given)
        self.tasks = tasks

    def __len__(self) -> int:
        return self.tasks

    def __getitem__(self, index: int) -> Task:
        return self.change(replace(self.task, index=range(self.tasks)[index]))


@found_by(PROTOCOL, "changes the data, but not the protocol")
class HidesALateSwitch(Fine):
    """Inverts the images of its last task without a word in the protocol."""

    declared = "Option('invert', bool, False, 'Whether to invert.'),"

    def __init__(self, *, invert: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self.invert = invert

    def change(self, task: Task) -> Task:
        if not self.invert or task.index == 0:
            return task
        return replace(task, train=replace(task.train, pixels=~task.train.pixels))


@found_by(PROTOCOL, "changes the data, but not the protocol")
class HidesAScale(Fine):
    """Normalises otherwise without a word in the protocol."""

    declared = "Option('std', list[float], [74.0], 'Of each channel.', above=0),"

    def __init__(self, *, std: tuple[float, ...] = (74.0,), **given: Any) -> None:
        super().__init__(**given)
        self.std = torch.tensor(std, device=given["device"]).view(-1, 1, 1)

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, std=self.std))


@found_by(PROTOCOL, "changes the data, but not the protocol")
class HidesAnUnknown(Fine):
    """Has other inputs of no task without a word in the protocol."""

    declared = "Option('unknown', bool, False, 'Whether there are any.'),"

    def __init__(self, *, unknown: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self.unknown = unknown

    def out_of_distribution(self) -> Examples | None:
        test = self.task.test
        return replace(test, pixels=~test.pixels) if self.unknown else None


class _SumTask(Task):
    """Adds the losses of a batch up."""

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="sum")


@found_by("test_the_loss_is_the_mean_of_the_batch", "is no mean")
class AddsLossesUp(Fine):
    """Has tasks whose loss is no mean."""

    def change(self, task: Task) -> Task:
        return _SumTask(task.index, task.name, task.train, task.test)


@found_by(PROTOCOL, "changes the data, but not the protocol")
class HidesAChoice(Fine):
    """Inverts the images without a word in the protocol, under another name."""

    declared = "Option('images', Literal['as-is', 'inverted'], 'as-is', 'Which.'),"

    def __init__(self, *, images: str = "as-is", **given: Any) -> None:
        super().__init__(**given)
        if images == "inverted":
            self.task.train.pixels.bitwise_not_()


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


@found_by("test_task_ids_are_given_exactly_where_declared")
class MasksUntold(Fine):
    """Chooses among some classes, though nobody is told the task."""

    def change(self, task: Task) -> Task:
        return replace(task, classes=torch.ones(self.classes, dtype=torch.bool))


@found_by("test_labels_are_classes")
class MasksByNumber(Fine):
    """Has a mask of integers, which `~` does not negate."""

    def change(self, task: Task) -> Task:
        return replace(task, classes=torch.ones(self.classes, dtype=torch.int64))


@found_by("test_labels_are_classes")
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
