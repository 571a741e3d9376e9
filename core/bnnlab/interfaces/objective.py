"""Objectives: what the targets of a task are, and how outputs are learned from and scored."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.interfaces.prediction import Prediction, RealPrediction, entropy

IGNORED = -100
"""The target of a position that is neither learned from nor scored."""


class Objective(ABC):
    """What the targets of a task are: how outputs are learned from, predicted and scored.

    An objective has no state: two with equal attributes are equal.

    Attributes:
        name: What it is, for messages and the protocol.
        score: What a run reports per task.
        is_of_classes: Whether each input has one class: logits `(B, K)`, targets int64 `(B,)`.
            Other objectives need a rule with `any_loss`.
    """

    name: str
    score: str
    is_of_classes = False

    @abstractmethod
    def check(self, targets: Tensor, outputs: int) -> None:
        """Check targets as a stream stores them, `(N, ...)`.

        Args:
            targets: On any device.
            outputs: The last dimension of the model's outputs: classes K, or real numbers D.

        Raises:
            ValueError: With what is wrong with dtype, shape or values.
        """

    def output_shape(self, targets: tuple[int, ...], outputs: int) -> tuple[int, ...]:
        """Return the shape of the model's output for one input.

        Args:
            targets: Shape of the target of one input.
            outputs: As in `check`.
        """
        return (*targets, outputs)

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, `(B,)`."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of the rows, a scalar."""
        return self.losses(outputs, targets).mean()

    @abstractmethod
    def merge(self, outputs: Tensor) -> Tensor:
        """Return what S weight draws predict together, `(B, ...)`, for their outputs `(S, B, ...)`.

        It can stand in the place of outputs.
        """

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return how many rows are predicted rightly, a scalar; None where that means nothing.

        A row of which a part is right counts as that part.
        """
        return None

    @abstractmethod
    def predict(
        self, outputs: Iterable[Tensor], targets: Tensor, draws: int
    ) -> Prediction | RealPrediction:
        """Return what is predicted for N rows.

        Args:
            outputs: The outputs `(N, ...)` at each weight draw, one after another.
            targets: `(N, ...)`.
            draws: How many there are.
        """

    def rows(self, targets: Tensor) -> int:
        """Return how many rows a prediction of these targets has."""
        return len(targets)

    def score_of(self, who: str, part: str) -> str:
        """Return what the protocol says of the score; `who` predicts, on `part`."""
        return f"{self.score} of {who} on each task's whole {part} part"


@dataclass(frozen=True)
class Classes(Objective):
    """One class per input: cross-entropy, and the share of inputs that are predicted rightly.

    Logits are `(B, K)`, targets int64 `(B,)` in 0..K-1.
    """

    name = "a class per input"
    score = "top-1 accuracy"
    is_of_classes = True

    def check(self, targets: Tensor, outputs: int) -> None:
        """Check that each is a class."""
        _check_classes(targets, outputs, "(N,)", 1)
        _check_range(targets, outputs)

    def output_shape(self, targets: tuple[int, ...], outputs: int) -> tuple[int, ...]:  # noqa: ARG002
        """Return (K,)."""
        return (outputs,)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each row's cross-entropy."""
        return F.cross_entropy(outputs, targets, reduction="none")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(outputs, targets)

    def merge(self, outputs: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities."""
        return outputs.softmax(-1).mean(0).log()

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Count the rows whose largest logit is their class's."""
        return (outputs.argmax(-1) == targets).sum()

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        """Average probabilities, and each draw's entropy."""
        probabilities = entropies = torch.zeros(())
        likelihoods: list[Tensor] = []
        for logits in outputs:
            log_p = logits.log_softmax(-1)
            likelihoods.append(log_p.gather(-1, targets[:, None].to(log_p.device))[:, 0])
            p = log_p.exp()
            probabilities = probabilities + p / draws
            entropies = entropies + entropy(p) / draws
        likelihood = torch.stack(likelihoods).logsumexp(0) - log(len(likelihoods))
        return Prediction(probabilities, entropies, likelihood, targets)


@dataclass(frozen=True)
class ClassPerPosition(Objective):
    """One class per position, such as a pixel or a token: the classes are the last dimension.

    Logits are `(B, ..., K)`, targets int64 `(B, ...)` in 0..K-1, or `IGNORED`. The loss of a row is
    the mean cross-entropy of its positions, and the score counts positions; those with the target
    `IGNORED` are left out of both.
    """

    name = "a class per position"
    score = "top-1 accuracy per position"

    def check(self, targets: Tensor, outputs: int) -> None:
        """Check that each is a class or ignored, and that every row has one that is not."""
        _check_classes(targets, outputs, "(N, ...)", None)
        counted = targets != IGNORED
        _check_range(targets[counted], outputs)
        if not bool(counted.flatten(1).any(1).all()):
            raise ValueError("a row has no target: all its positions are ignored")

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each row's mean cross-entropy over its positions."""
        logits = outputs.movedim(-1, 1)
        each = F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)
        return each.flatten(1).sum(1) / (targets != IGNORED).flatten(1).sum(1)

    def merge(self, outputs: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities."""
        return CLASSES.merge(outputs)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sum, over the rows, the share of positions that are right."""
        right = (outputs.argmax(-1) == targets).flatten(1).sum(1)
        shares: Tensor = right / (targets != IGNORED).flatten(1).sum(1)
        return shares.sum()

    def rows(self, targets: Tensor) -> int:
        """Count the positions that are not ignored."""
        return int((targets != IGNORED).sum())

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        """Predict the positions that count, each as a row of its own."""
        counted = targets != IGNORED
        rows = (logits[counted.to(logits.device)] for logits in outputs)
        return CLASSES.predict(rows, targets[counted], draws)


@dataclass(frozen=True)
class RealNumbers(Objective):
    """Real numbers: squared error, and the coefficient of determination R2.

    Outputs and targets are `(B, D)`. The loss of a row is the mean squared error of its D numbers.
    """

    name = "real numbers"
    score = "R2"

    def check(self, targets: Tensor, outputs: int) -> None:
        """Check that they are float32 of shape (N, D), and finite."""
        if targets.dtype != torch.float32 or targets.ndim != 2 or targets.shape[1] != outputs:
            raise ValueError(f"must be float32 of shape (N, {outputs}), and are {_said(targets)}")
        if not bool(targets.isfinite().all()):
            raise ValueError("are not all finite")

    def output_shape(self, targets: tuple[int, ...], outputs: int) -> tuple[int, ...]:  # noqa: ARG002
        """Return (D,)."""
        return (outputs,)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each row's mean squared error."""
        return (outputs - targets).square().mean(-1)

    def merge(self, outputs: Tensor) -> Tensor:
        """Return the mean."""
        return outputs.mean(0)

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> RealPrediction:
        """Average the outputs and their squares."""
        mean = squares = torch.zeros(())
        for each in outputs:
            mean = mean + each / draws
            squares = squares + each.square() / draws
        return RealPrediction(mean, (squares - mean.square()).clamp(min=0), targets)


CLASSES = Classes()


def _check_classes(targets: Tensor, outputs: int, shape: str, ndim: int | None) -> None:
    if targets.dtype != torch.int64 or (ndim or max(2, targets.ndim)) != targets.ndim:
        raise ValueError(
            f"must be int64 of shape {shape}, classes in 0..{outputs - 1}, and are {_said(targets)}"
        )


def _check_range(classes: Tensor, outputs: int) -> None:
    if len(classes) and (int(classes.min()) < 0 or int(classes.max()) >= outputs):
        raise ValueError(f"go beyond 0 to {outputs - 1}")


def _said(targets: Tensor) -> str:
    return f"{str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
