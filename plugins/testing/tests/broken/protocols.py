"""Streams: what their protocols say, and hide."""

from dataclasses import replace
from typing import Any

import torch

from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task
from broken import found_by, right
from broken.streams import Fine, Floats

CHANGES = "test_an_option_that_changes_the_data_changes_the_protocol"
HIDDEN = "changes the data, but not the protocol"


@found_by("test_the_protocol_does_not_hold_the_seed")
class TellsTheSeed(Fine):
    """Has the seed in its protocol."""

    def protocol(self) -> dict[str, Any]:
        return {"seed": self.seed}


@found_by("test_a_run_accepts_its_tasks", "not JSON serializable")
class NoData(Fine):
    """Has what JSON does not know in its protocol."""

    def protocol(self) -> dict[str, Any]:
        return {"pixels": self.task.train.pixels}


@found_by("test_a_run_accepts_its_tasks", "must describe the data")
class SaysNothing(Fine):
    """Has an empty protocol."""

    def protocol(self) -> dict[str, Any]:
        return {}


@found_by("test_the_protocol_names_the_data_by_a_digest", "no digest")
class SaysTheSame(Fine):
    """Has the same protocol whatever its data are."""

    def protocol(self) -> dict[str, Any]:
        return {"scenario": "toy", "tasks": len(self)}


@right(CHANGES, "test_batches_have_the_conventional_shapes")
class FineShare(Floats):
    """Can leave out some of the training data, which are no images."""

    declared = "Option('share', float, 1.0, 'Part of the data.', above=0, maximum=1),"

    def __init__(self, *, share: float = 1.0, **given: Any) -> None:
        super().__init__(**given)
        self.share = share

    def change(self, task: Task) -> Task:
        task = super().change(task)
        rows = task.train.rows[: int(self.share * len(task.train))]
        return replace(task, train=replace(task.train, rows=rows))

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "share": self.share}


@found_by(CHANGES, HIDDEN)
class HidesAShare(FineShare):
    """Leaves out training data without a word in the protocol."""

    def protocol(self) -> dict[str, Any]:
        return {"scenario": "toy"}


@found_by(CHANGES, HIDDEN)
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


@found_by(CHANGES, HIDDEN)
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


@found_by(CHANGES, HIDDEN)
class HidesAScale(Fine):
    """Normalises otherwise without a word in the protocol."""

    declared = "Option('std', list[float], [74.0], 'Of each channel.', above=0),"

    def __init__(self, *, std: tuple[float, ...] = (74.0,), **given: Any) -> None:
        super().__init__(**given)
        self.std = torch.tensor(std, device=given["device"]).view(-1, 1, 1)

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, std=self.std))


@found_by(CHANGES, HIDDEN)
class HidesAnUnknown(Fine):
    """Has other inputs of no task without a word in the protocol."""

    declared = "Option('unknown', bool, False, 'Whether there are any.'),"

    def __init__(self, *, unknown: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self.unknown = unknown

    def out_of_distribution(self) -> Examples | None:
        test = self.task.test
        return replace(test, pixels=~test.pixels) if self.unknown else None


@found_by(CHANGES, HIDDEN)
class HidesAChoice(Fine):
    """Inverts the images without a word in the protocol, under another name."""

    declared = "Option('images', Literal['as-is', 'inverted'], 'as-is', 'Which.'),"

    def __init__(self, *, images: str = "as-is", **given: Any) -> None:
        super().__init__(**given)
        if images == "inverted":
            self.task.train.pixels.bitwise_not_()
