"""The objective interface: what targets are, and how outputs are learned from and scored."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.prediction import Predicted, Prediction


class Objective(ABC):
    """What the targets of a task are: how outputs are learned from, predicted and scored.

    An objective has no state: two of one class with equal attributes are equal.

    Attributes:
        name: What it is, for messages.
        score: What a run reports per task. One that is called an accuracy is shown in per cent.
        prediction: What `predict` returns.
        is_of_classes: Whether each input has one class: logits `(B, K)`, targets int64 `(B,)`.
            Other objectives need a rule with `any_loss`.
    """

    name: str
    score: str
    prediction: type[Predicted] = Prediction
    is_of_classes = False

    def __eq__(self, other: object) -> bool:
        mine, its = vars(self), vars(other) if type(other) is type(self) else None
        return (
            its is not None
            and mine.keys() == its.keys()
            and all(_are_equal(value, its[name]) for name, value in mine.items())
        )

    def __hash__(self) -> int:
        return hash(type(self))

    @abstractmethod
    def check(self, targets: Tensor, outputs: int) -> None:
        """Raise a ValueError if dtype, shape or values of targets are wrong.

        Args:
            targets: As a stream stores them, `(N, ...)`, on any device.
            outputs: The last dimension of the model's outputs: classes K, or real numbers D.
        """

    def check_scored(self, targets: Tensor) -> None:  # noqa: B027
        """Raise a ValueError if the score of predictions for these targets means nothing."""

    def classes_in(self, targets: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return the classes in targets, int64 `(n,)`; None if a task cannot have a mask."""
        return None

    def output_shape(self, targets: tuple[int, ...], outputs: int) -> tuple[int, ...]:
        """Return the shape of the model's output for one input, by that of its target."""
        return (*targets, outputs)

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, `(B,)`."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the rows, a scalar."""
        return self.losses(outputs, targets).mean()

    @abstractmethod
    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw targets, `(B, ...)` on the CPU, from what masked outputs `(B, ...)` predict."""

    def leave_out(self, drawn: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """Return drawn targets without what a row's own targets leave out; by default all."""
        return drawn

    def log_likelihoods(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return log p(target | output) of each row, `(B,)`, up to a constant; p is `sample`'s."""
        return -self.losses(outputs, targets)

    @abstractmethod
    def merge(self, outputs: Tensor) -> Tensor:
        """Return, in the place of outputs, what those of S draws `(S, B, ...)` predict together."""

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return how many rows are predicted rightly, a scalar; None where that means nothing.

        A row of which a part is right counts as that part.
        """
        return None

    @abstractmethod
    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Predicted:
        """Return what is predicted for N rows, by the outputs `(N, ...)` at each of some draws."""

    def rows(self, targets: Tensor) -> int:
        """Return how many rows a prediction of these targets has."""
        return len(targets)


def _are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return bool(one == other)
