"""What is predicted for examples."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import log
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Predicted(ABC):
    """What is predicted for N rows; all fields of a derived class are tensors `(N, ...)`."""

    @abstractmethod
    def score(self) -> float:
        """Return how good it is, by the targets."""

    @abstractmethod
    def is_finite(self) -> bool:
        """Return whether all numbers that are predicted are finite."""

    def split(self, sizes: Sequence[int]) -> list[Self]:
        """Return what belongs to the first rows, to the next, and so on."""
        parts = (torch.split(getattr(self, each.name), [*sizes]) for each in fields(self))
        return [type(self)(*each) for each in zip(*parts, strict=True)]


@dataclass(frozen=True, eq=False)
class Prediction(Predicted):
    """What classes are predicted for N examples, or for N positions in examples.

    Attributes:
        probabilities: Mean over the weight draws, `(N, K)`.
        entropies: Mean over the weight draws of each one's entropy, in bits, `(N,)`.
        log_likelihoods: Logarithm of the targets' mean probability, in nats, `(N,)`: a number
            also where the probability itself is too small for one.
        targets: `(N,)`.
    """

    probabilities: Tensor
    entropies: Tensor
    log_likelihoods: Tensor
    targets: Tensor

    def accuracy(self) -> float:
        """Return the share of examples whose most probable class is the target."""
        correct = self.probabilities.argmax(-1) == self.targets
        return float(correct.sum()) / len(self.targets)

    score = accuracy

    def is_finite(self) -> bool:
        """Return whether all probabilities are finite."""
        return bool(self.probabilities.isfinite().all())


@dataclass(frozen=True, eq=False)
class RealPrediction(Predicted):
    """What real numbers are predicted for N examples.

    Attributes:
        outputs: Mean over the weight draws, `(N, D)`.
        variances: Variance over the weight draws, `(N, D)`; 0 without draws.
        targets: `(N, D)`.
    """

    outputs: Tensor
    variances: Tensor
    targets: Tensor

    def score(self) -> float:
        """Return R2, the mean over the D numbers of 1 - (squared error) / (squared deviation).

        1 is best; the mean of the targets scores 0, and what is worse is below. A number whose
        targets are all equal is left out; if all are, the answer is nan.
        """
        targets, outputs = self.targets.cpu().double(), self.outputs.cpu().double()
        errors = (targets - outputs).square().sum(0)
        deviations = (targets - targets.mean(0)).square().sum(0)
        return float((1 - errors / deviations)[deviations > 0].mean())

    def is_finite(self) -> bool:
        """Return whether all outputs are finite."""
        return bool(self.outputs.isfinite().all())


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy, in bits, over the last dimension."""
    nats: Tensor = torch.special.entr(probabilities).sum(-1)
    return nats / log(2)
