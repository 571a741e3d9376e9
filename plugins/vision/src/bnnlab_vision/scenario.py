"""What the scenarios have in common."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.stream import Task, TaskStream
from bnnlab_vision.preparation import Prepared


class Scenario(TaskStream):
    """A number of tasks over prepared data sets, and their protocol.

    All are made with `data` (folder of the data sets), `device` (where they are put),
    `seed` (chooses what is held out), `dataset` (its name) and `validation` (share of the
    training data that is held out, in [0, 1)), and with what each one documents.
    """

    def __init__(
        self, prepared: Sequence[Prepared], tasks: int, options: Mapping[str, Any]
    ) -> None:
        if tasks < 1:
            raise UsageError(f"tasks: {tasks} must be at least 1.")
        self.input_shape = prepared[0].shape
        self.classes = max(each.classes for each in prepared)
        self._prepared = prepared
        self._tasks = tasks
        self._options = options

    def __len__(self) -> int:
        return self._tasks

    def __getitem__(self, index: int) -> Task:
        return self._make(range(self._tasks)[index])

    @abstractmethod
    def _make(self, index: int) -> Task:
        """Return the task at `index`, which is in range."""

    def protocol(self) -> dict[str, Any]:
        """Return the scenario, the data sets with digests and sizes, and all options."""
        return {
            "scenario": type(self).__name__.lower(),
            "data": [each.describe() for each in self._prepared],
            **self._options,
        }
