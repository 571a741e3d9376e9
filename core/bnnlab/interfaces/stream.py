"""The stream interface: a sequence of tasks."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnnlab.interfaces.batch import TaskLoss
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import CLASSES


@dataclass(frozen=True, eq=False)
class Task:
    """One task of a stream.

    Attributes:
        index: Place in the stream, from 0.
        name: Name for displays.
        train: Training data.
        test: Test data. Never choose anything by them. In a run that is evaluated on validation,
            they are the validation part.
        validation: Data held out of the training data, or None.
        classes: bool of shape (K,): the classes of this task, if the model is told the task
            (task-incremental); None for all classes.
        objective: What the targets are, and how outputs are learned from and scored. All tasks of a
            stream have the same.
    """

    index: int
    name: str
    train: Examples
    test: Examples
    validation: Examples | None = None
    classes: Tensor | None = None
    objective: Objective = CLASSES

    @property
    def parts(self) -> dict[str, Examples]:
        """The parts that it has, by name."""
        every = {"train": self.train, "validation": self.validation, self.scored_on: self.test}
        return {name: part for name, part in every.items() if part is not None}

    @property
    def scored_on(self) -> str:
        """Name of the part that `test` is."""
        return "validation" if self.test is self.validation else "test"

    @property
    def loss(self) -> TaskLoss:
        """The mean loss of a batch of this task, a function of outputs and targets."""
        return TaskLoss(self.objective, self.classes, self.index)

    def mask(self, logits: Tensor) -> Tensor:
        """Return the logits `(..., K)`, with minus infinity for the classes of other tasks."""
        return TaskLoss(mask=self.classes).masked(logits)


class TaskStream(ABC):
    """A sequence of tasks. A task is made when it is indexed.

    Attributes:
        input_shape: Shape of one input: `(C, H, W)`, `(F,)`, `(T, C)`; of token ids, `(T,)`.
        tokens: How many token ids there are, if inputs are token ids (int64, 0 to `tokens` - 1);
            None for numbers (float32).
        classes: Number of logits K; of real numbers, their number D.
        gives_task_ids: Whether the model may be told the task at test.
        class_names: A name per class, in the order of the labels; empty if they are only numbers.
    """

    input_shape: tuple[int, ...]
    tokens: int | None = None
    classes: int
    gives_task_ids: bool = False
    class_names: Sequence[str] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of tasks."""

    @abstractmethod
    def __getitem__(self, index: int) -> Task:
        """Return a task, the same at every call, in every process with the same seed.

        Raises:
            IndexError: Past the last task.
        """

    def out_of_distribution(self) -> Examples | None:
        """Return out-of-distribution examples, to score how well they are detected; None for none.

        Their pixels have the shape and dtype of the tasks' pixels. Their labels are in 0..K-1 and
        are not used. A run calls this once, after it made the tasks and before it trains. It does
        not call it if the task is known at test, or if the run is evaluated on validation.
        """
        return None

    def __iter__(self) -> Iterator[Task]:
        return (self[index] for index in range(len(self)))

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """Return the training data, their order and their splits, in JSON types.

        Data are described by a digest of their content. The root seed is left out: runs that differ
        only in the seed are repetitions of one protocol.
        """


def protocol_hash(protocol: dict[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of SHA-256 over the description's canonical JSON."""
    text = json.dumps(protocol, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
