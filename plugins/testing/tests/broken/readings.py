"""Streams: what depends on when, where and how often they are read."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.examples import Examples, StoredImages
from bnnlab.interfaces.stream import Task
from broken import found_by, right
from broken.streams import Fine

SAME = "test_a_task_is_the_same_at_every_call"
BATCHES = "test_an_example_is_the_same_in_every_batch"
PROCESSES = "test_tasks_are_the_same_in_every_process"
NETWORK = "test_it_asks_no_network_for_data_that_are_here"
PLACES = "test_the_protocol_names_no_place_of_a_machine"
IGNORED = "test_no_option_is_ignored"


@found_by(SAME, "asked for again, it is other data")
class DarkensAtEachCall(Fine):
    """Changes its images in place whenever it is asked for a task."""

    def change(self, task: Task) -> Task:
        task.train.pixels.sub_(1)
        return task


@found_by(SAME, "train of task 0: asked for again")
class DrawsInOrder(Fine):
    """Draws the rows of a task when it is first asked for, after those of the tasks before."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.draws, self.known = torch.Generator().manual_seed(self.seed), dict[int, Task]()

    def change(self, task: Task) -> Task:
        if task.index not in self.known:
            rows = task.train.rows[torch.randperm(len(task.train), generator=self.draws)]
            self.known[task.index] = replace(task, train=replace(task.train, rows=rows))
        return self.known[task.index]


@found_by(SAME, "out_of_distribution.*: asked for again")
class DrawsTheUnknown(Fine):
    """Has other inputs of no task at each call."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.draws = torch.Generator().manual_seed(self.seed)

    def out_of_distribution(self) -> Examples:
        pixels = self.task.test.pixels
        noise = torch.randint(0, 256, pixels.shape, generator=self.draws, dtype=torch.uint8)
        return replace(self.task.test, pixels=noise)


class Stored(StoredImages):
    """Images as on disk."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels, self.shape = pixels, tuple(pixels.shape)

    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        return (self.pixels[rows] for rows in pieces)


class OneBuffer(Stored):
    """Reads every piece into the same memory."""

    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        buffer = torch.empty(len(self.pixels), *self.shape[1:], dtype=self.pixels.dtype)
        for rows in pieces:
            yield buffer[: len(rows)].copy_(self.pixels[rows])


@right(BATCHES, SAME)
class FineStored(Fine):
    """Reads its images from elsewhere."""

    stored: type[Stored] = Stored

    def change(self, task: Task) -> Task:
        stored = self.stored(task.train.pixels)
        train, test = (replace(part, pixels=stored) for part in (task.train, task.test))
        return replace(task, train=train, test=test)


@found_by(BATCHES, "the input of an example depends on the batch it is in")
class Overwrites(FineStored):
    """Hands out memory that the next piece overwrites."""

    stored = OneBuffer


class Noisy(Examples):
    """Has some labels wrong, others in each pass."""

    draws = torch.Generator().manual_seed(0)

    def batches(self, *given: Any, **more: Any) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in super().batches(*given, **more):
            yield inputs, (targets + torch.randint(0, 2, targets.shape, generator=self.draws)) % 3


@found_by(BATCHES, "the target of an example depends on the batch it is in")
class RelabelsInEachPass(Fine):
    """Draws label noise anew in each epoch."""

    def change(self, task: Task) -> Task:
        its = {field.name: getattr(task.train, field.name) for field in fields(task.train)}
        return replace(task, train=Noisy(**its))


@found_by(PROCESSES, "train of task 0: other in another process")
class OrdersByHash(Fine):
    """Has its rows in the order of a set of names."""

    def change(self, task: Task) -> Task:
        names = {f"image-{row}" for row in task.train.rows.tolist()}
        rows = torch.tensor([int(name.partition("-")[2]) for name in names])
        return replace(task, train=replace(task.train, rows=rows))


@found_by(PROCESSES, "train of task 0: other in another process")
class OrdersByThreads(Fine):
    """Has its rows in the order in which so many threads finish."""

    def change(self, task: Task) -> Task:
        rows = task.train.rows.roll(torch.get_num_threads())
        return replace(task, train=replace(task.train, rows=rows))


@found_by(PROCESSES, "the protocol: other in another process")
class DigestsByHash(Fine):
    """Describes its data by a number that each process makes otherwise."""

    def protocol(self) -> dict[str, Any]:
        return {"data": f"{abs(hash(self.digest)):016x}"}


@found_by(NETWORK, r"it asks the network: \('127.0.0.1', 9\)")
class CallsHome(Fine):
    """Asks a server for the newest data, and takes those that are here if none answers."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        with suppress(OSError), socket.socket() as asked:
            asked.connect(("127.0.0.1", 9))


@found_by(PLACES, "names a place of this machine: ")
class TellsItsFolder(Fine):
    """Says where its data lie."""

    def __init__(self, *, data: object, **given: Any) -> None:
        super().__init__(data=data, **given)
        self.folder = str(data)

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "from": [{"folder": self.folder}]}


@found_by(IGNORED, "no effect: noise .tried: .*. Use each, or say in `without_effect`")
class IgnoresNoise(Fine):
    """Says in its protocol how much noise there is, and adds none."""

    declared = "Option('noise', float, 0.5, 'Its deviation.', minimum=0),"

    def __init__(self, *, noise: float = 0.5, **given: Any) -> None:
        super().__init__(**given)
        self.noise = noise

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "noise": self.noise}


@right(IGNORED)
class ReadsWithHelp(Fine):
    """Has an option that saves time alone, as its test class says."""

    declared = "Option('workers', int, 0, 'Processes that read.', minimum=0),"
    told = {"without_effect": {"workers": "it saves time alone"}}

    def __init__(self, *, workers: int = 0, **given: Any) -> None:
        super().__init__(**given)
        self.workers = workers
