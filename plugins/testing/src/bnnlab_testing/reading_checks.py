"""What a stream owes to who reads it: the same tasks at each call, in each batch and process."""

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from bnnlab.errors import BnnlabError
from bnnlab.interfaces import examples
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import TaskStream
from bnnlab_testing.asserting import assert_close
from bnnlab_testing.device_process import call_with_device
from bnnlab_testing.example_checks import ExampleChecks, named_parts

SOME = 250
"""Examples of a part that are looked up."""
INTERNET = (socket.AF_INET, socket.AF_INET6)
PATHS = (PurePosixPath, PureWindowsPath)


class ReadingChecks(ExampleChecks):
    """The part of `StreamContract` that is about when, where and how often it is read."""

    def test_a_task_is_the_same_at_every_call(self) -> None:
        """Asked for again, last task first, also of a stream made anew, tasks are what they were.

        So are the inputs of no task. A resumed run asks again: draw in the constructor, or from a
        generator that is made for each task, and change no data in place.
        """
        stream = self.make()
        first = _read(stream)
        for again in (stream, self.make()):
            for index in reversed(range(len(again))):
                again[index]
            for name, found in _read(again).items():
                same = all(map(torch.equal, first[name], found))
                assert same, f"{name}: asked for again, it is other data"

    def test_an_example_is_the_same_in_every_batch(self) -> None:
        """Looked up alone, among others and in a second pass, it has the same input and target.

        Give each batch memory of its own, since several are held at a time; what is drawn anew for
        each look is `Examples.augment`.
        """
        for name, part in named_parts(self.make()[0]):
            part = replace(part, rows=part.rows[:SOME])
            order = torch.arange(len(part)).flip(0)
            with patch.multiple(examples, PIECE=1, LOOKED_UP_TOGETHER=3):  # in many pieces
                together, *passes = [part.batch(order), *(_pass(part, order) for _ in range(2))]
                alone = [part.batch(position[None]) for position in order[::9]]
            passes.append(tuple(map(torch.cat, zip(*alone, strict=True))))
            for found, step in zip(passes, (1, 1, 9), strict=True):
                for what, one, other in zip(("input", "target"), together, found, strict=True):
                    same = torch.equal(one[::step], other)
                    assert same, f"{name}: the {what} of an example depends on the batch it is in"

    def test_tasks_are_the_same_in_every_process(self) -> None:
        """Another process, with another seed of `hash()` and more threads, has the same tasks.

        It has more cores, too. A resumed run goes on there. Sort what comes from a set, a folder or
        a pool of threads, take digests from `hashlib`, and draw from `bnnlab.seeds`.
        """
        self._here = self._everything(), torch.get_num_threads()
        call_with_device(self, "compare")

    def compare(self, _: torch.device) -> None:
        """Compare what is read here, with more threads, with what the tests have read."""
        (wanted, threads), before = self._here, torch.get_num_threads()
        torch.set_num_threads(threads + 1)
        cores = (os.cpu_count() or 1) + 1
        try:
            with patch.object(os, "cpu_count", lambda: cores):
                found = self._everything()
        finally:
            torch.set_num_threads(before)
        for name, value in wanted.items():
            said = f"{name}: other in another process, with other threads, cores and seed of hash()"
            if isinstance(value, str):
                assert found.get(name) == value, said
            else:
                assert name in found, said
                assert_close(found[name], value, said, rtol=1e-3)

    def test_it_asks_no_network_for_data_that_are_here(self) -> None:
        """Where its data are in the data folder, it opens no connection to another machine.

        Compute nodes have none. Look for the files first; fetch what is missing alone, or say in a
        DataError how to get it.
        """
        self.make()  # the data are here, or the test is skipped
        asked, connect = list[object](), socket.socket.connect

        def refuse(host: object, *_: object, **__: object) -> None:
            asked.append(host)
            raise OSError("there is no network in this check")

        def reach(own: socket.socket, address: Any) -> None:
            if own.family in INTERNET:
                refuse(address)
            connect(own, address)

        with patch.object(socket.socket, "connect", reach), patch("socket.getaddrinfo", refuse):
            try:
                list(self.make())
            except BnnlabError:
                if not asked:
                    raise
        assert not asked, f"it asks the network: {asked[0]}"

    def test_the_protocol_names_no_place_of_a_machine(self) -> None:
        """It holds no absolute path: equal data have one protocol hash, wherever they lie.

        Leave folders out. Data are told apart by a digest of their content.
        """
        texts = _texts(self.make().protocol())
        places = [text for text in texts if any(path(text).is_absolute() for path in PATHS)]
        assert not places, f"the protocol names a place of this machine: {', '.join(places)}"

    def _everything(self) -> dict[str, Any]:
        """Return the protocol, the names of the tasks, and what every part begins with."""
        stream = self.make()
        names = json.dumps([task.name for task in stream])
        protocol = json.dumps(stream.protocol(), sort_keys=True)
        return {"the protocol": protocol, "names of tasks": names, **_read(stream)}


def _read(stream: TaskStream) -> dict[str, list[Tensor]]:
    """Return rows, labels and the first inputs of every part, and of what is of no task."""
    parts = {name: part for task in stream for name, part in named_parts(task)}
    if (unknown := stream.out_of_distribution()) is not None:
        parts["out_of_distribution()"] = unknown
    return {
        name: [
            part.rows.clone(),
            part.labels[part.rows],
            part.batch(torch.arange(len(part))[:5])[0],
        ]
        for name, part in parts.items()
    }


def _pass(part: Examples, order: Tensor) -> tuple[Tensor, ...]:
    """Return inputs and targets of batches that are all held before they are joined."""
    return tuple(map(torch.cat, zip(*list(part.batches(7, order)), strict=True)))


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value of JSON types."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in [*value, *(value.values() if isinstance(value, dict) else ())]:
            yield from _texts(each)
