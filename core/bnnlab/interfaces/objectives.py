"""The usual objectives: a class per input or per position, and real numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.errors import kind_of
from bnnlab.interfaces.losses import LOSSES, LossName, cross_entropy
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.prediction import Prediction, RealPrediction, entropy

IGNORED = -100
"""The target of a position that is neither learned from nor scored."""

NUMBERED = "np.unique(y, return_inverse=True)[1]"
"""How labels of any kind are numbered from 0, for messages."""


@dataclass(frozen=True, eq=False)
class Classes(Objective):
    """One class per input: a loss, and the share of inputs that are predicted rightly.

    Logits are `(B, K)`, targets int64 `(B,)` in 0..K-1. Predictions are their softmax, whatever the
    loss is.

    Attributes:
        loss_name: Which of `bnnlab.interfaces.losses` is learned.
        smoothing: Share of the target that all classes have, of cross-entropy.
    """

    loss_name: LossName = "cross-entropy"
    smoothing: float = 0.0

    name = "a class per input"
    score = "top-1 accuracy"
    is_of_classes = True

    def check(self, targets: Tensor, outputs: int) -> None:
        """Check that each is a class."""
        _check_type(targets, "(N,)", targets.ndim == 1)
        _check_range(targets, outputs)

    def classes_in(self, targets: Tensor) -> Tensor:
        """Return all of them."""
        return targets

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each row's loss."""
        if self.smoothing:
            return cross_entropy(outputs, targets, self.smoothing)
        return LOSSES[self.loss_name](outputs, targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss."""
        if self == CLASSES:
            return F.cross_entropy(outputs, targets)
        return self.losses(outputs, targets).mean()

    def log_likelihoods(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the logarithm of each target's softmax."""
        return -cross_entropy(outputs, targets)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a class for each row."""
        return torch.multinomial(outputs.softmax(-1).cpu(), 1, generator=generator)[:, 0]

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


@dataclass(frozen=True, eq=False)
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
        _check_type(targets, "(N, ...)", targets.ndim > 1)
        _check_range(self.classes_in(targets), outputs)
        if not bool(_counted(targets).all()):
            raise ValueError(
                f"have a row without a class: all its positions are {IGNORED}, ignored"
            )

    def classes_in(self, targets: Tensor) -> Tensor:
        """Return those of the positions that count."""
        return targets[targets != IGNORED]

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each row's mean cross-entropy over its positions."""
        return -self.log_likelihoods(outputs, targets) / _counted(targets)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a class for each position."""
        return CLASSES.sample(outputs.flatten(0, -2), generator).view(outputs.shape[:-1])

    def leave_out(self, drawn: Tensor, targets: Tensor) -> Tensor:
        """Return them, ignored where the row's own are."""
        return drawn.masked_fill(targets == IGNORED, IGNORED)

    def log_likelihoods(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each row's sum over its positions."""
        logits = outputs.movedim(-1, 1)
        each = F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)
        return -each.flatten(1).sum(1)

    def merge(self, outputs: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities."""
        return CLASSES.merge(outputs)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sum, over the rows, the share of positions that are right."""
        right = (outputs.argmax(-1) == targets).flatten(1).sum(1)
        return (right / _counted(targets)).sum()

    def rows(self, targets: Tensor) -> int:
        """Count the positions that are not ignored."""
        return len(self.classes_in(targets))

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> Prediction:
        """Predict the positions that count, each as a row of its own."""
        counted = targets != IGNORED
        rows = (logits[counted.to(logits.device)] for logits in outputs)
        return CLASSES.predict(rows, targets[counted], draws)


@dataclass(frozen=True, eq=False)
class RealNumbers(Objective):
    """Real numbers: squared error, and the coefficient of determination R2.

    Outputs and targets are `(B, D)`. The loss of a row is the mean squared error of its D numbers.
    As a distribution, an output is the mean of a normal one with variance 1.
    """

    name = "real numbers"
    score = "R2"
    prediction = RealPrediction

    def check(self, targets: Tensor, outputs: int) -> None:
        """Check that they are float32 of shape (N, D), and finite."""
        if targets.dtype != torch.float32 or targets.ndim != 2 or targets.shape[1] != outputs:
            shape = f"(N, {outputs if targets.is_floating_point() else 'D'})"
            raise ValueError(f"must be float32 of shape {shape}, and are {kind_of(targets)}")
        if not bool(targets.isfinite().all()):
            raise ValueError("are not all finite")

    def check_scored(self, targets: Tensor) -> None:
        """Check that one of the D numbers, at least, is not always the same."""
        if bool((targets == targets[:1]).all()):
            raise ValueError("are all the same, and R2 compares errors with how far they differ")

    def output_shape(self, targets: tuple[int, ...], outputs: int) -> tuple[int, ...]:  # noqa: ARG002
        """Return (D,)."""
        return (outputs,)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each row's mean squared error."""
        return (outputs - targets).square().mean(-1)

    def sample(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        """Add noise of variance 1."""
        mean = outputs.cpu()
        return mean + torch.randn(mean.shape, generator=generator, dtype=mean.dtype)

    def log_likelihoods(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return minus half of each row's squared error."""
        return -(outputs - targets).square().sum(-1) / 2

    def merge(self, outputs: Tensor) -> Tensor:
        """Return the mean."""
        return outputs.mean(0)

    def predict(self, outputs: Iterable[Tensor], targets: Tensor, draws: int) -> RealPrediction:
        """Average the outputs, and find their variance (Welford, Technometrics 4, 1962)."""
        mean = squares = torch.zeros(())
        for count, each in enumerate(outputs, start=1):
            apart = each - mean
            mean = mean + apart / count
            squares = squares + apart * (each - mean)
        return RealPrediction(mean, squares / draws, targets)


CLASSES = Classes()


def _check_type(targets: Tensor, shape: str, is_of_shape: bool) -> None:
    if targets.dtype != torch.int64 or not is_of_shape:
        raise ValueError(f"must be int64 of shape {shape}, classes, and are {kind_of(targets)}")


def _check_range(classes: Tensor, outputs: int) -> None:
    low, high = (int(classes.min()), int(classes.max())) if len(classes) else (0, 0)
    if low < 0 or high >= outputs:
        how = "y - 1" if low == 1 else NUMBERED if low < 0 else ""
        more = f": to number them from 0, give {how}" if how else ""
        raise ValueError(f"go from {low} to {high}, and the classes from 0 to {outputs - 1}{more}")


def _counted(targets: Tensor) -> Tensor:
    """Return how many positions of each row count, `(B,)`."""
    return (targets != IGNORED).flatten(1).sum(1)
