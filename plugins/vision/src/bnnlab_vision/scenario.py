"""What the scenarios have in common."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.seeds import permutation
from bnnlab.stream import Examples, Task, TaskStream
from bnnlab_vision.datasets import find_source
from bnnlab_vision.preparation import Prepared

PERMUTATION = "permutation"


class Scenario(TaskStream):
    """A number of tasks over prepared data sets, and their protocol.

    All are made with `data` (folder of the data sets), `device` (where they are put),
    `seed` (chooses what is held out), `dataset` (its name), `validation` (share of the training
    data that is held out, in [0, 1)) and `unknown` (what belongs to no task: a data set of equal
    shape, or `permutation` for the test images with their pixels in an order of their own), and
    with what each one documents.

    Attributes:
        permutes: Whether tasks show the data set's images with their pixels in another order.
    """

    permutes = False

    def __init__(
        self,
        prepared: Sequence[Prepared],
        tasks: int,
        options: Mapping[str, Any],
        *,
        unknown: str,
        data: Path,
        seed: int,
    ) -> None:
        if tasks < 1:
            raise UsageError(f"tasks: {tasks} must be at least 1.")
        self.input_shape = prepared[0].shape
        self.classes = max(each.classes for each in prepared)
        self._prepared = prepared
        self._tasks = tasks
        self._options = dict(options)
        self._unknown, self._data, self._seed = unknown, data, seed
        if unknown != PERMUTATION:
            self._options["unknown"] = unknown
            if not self.permutes and unknown in {each.name for each in prepared}:
                raise UsageError(f"unknown: the tasks are made of {unknown}; choose another.")
            shape = find_source(unknown).shape
            if shape != self.input_shape:
                raise UsageError(f"unknown: {unknown} is {shape}, the stream {self.input_shape}.")

    def __len__(self) -> int:
        return self._tasks

    def __getitem__(self, index: int) -> Task:
        return self._make(range(self._tasks)[index])

    @abstractmethod
    def _make(self, index: int) -> Task:
        """Return the task at `index`, which is in range."""

    def out_of_distribution(self) -> Examples:
        """Return test images of no task, normalised as the stream's first data set is."""
        known = self._prepared[0].test
        if self._unknown == PERMUTATION:
            order = permutation(known.pixels[0].numel(), self._seed, "unknown")
            return replace(known, permutation=order.to(known.pixels.device))
        device = known.pixels.device
        other = Prepared(
            self._unknown, data=self._data, device=device, seed=self._seed, validation=0.0
        )
        return replace(other.test, mean=known.mean, std=known.std)

    def protocol(self) -> dict[str, Any]:
        """Return the scenario, the data sets with digests and sizes, and all options.

        `unknown` is left out where it is the default.
        """
        return {
            "scenario": type(self).__name__.lower(),
            "data": [each.describe() for each in self._prepared],
            **self._options,
        }
