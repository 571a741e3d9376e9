"""What is predicted for examples."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import log
from typing import Any

import torch
from torch import Tensor


class Splittable:
    """Tensors that begin with one dimension of rows."""

    def split(self, sizes: Sequence[int]) -> list[Any]:
        """Return what belongs to the first rows, to the next, and so on."""
        each = (torch.split(getattr(self, field.name), list(sizes)) for field in fields(self))  # type: ignore[arg-type]
        return [type(self)(*parts) for parts in zip(*each, strict=True)]


@dataclass(frozen=True, eq=False)
class Prediction(Splittable):
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

    def score(self) -> float:
        """Return the accuracy."""
        return self.accuracy()

    def is_finite(self) -> bool:
        """Return whether all numbers are."""
        return bool(self.probabilities.isfinite().all())


@dataclass(frozen=True, eq=False)
class RealPrediction(Splittable):
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
        targets = self.targets.double()
        errors = (targets - self.outputs.to(targets)).square().sum(0)
        deviations = (targets - targets.mean(0)).square().sum(0)
        return float((1 - errors / deviations)[deviations > 0].mean())

    def is_finite(self) -> bool:
        """Return whether all numbers are."""
        return bool(self.outputs.isfinite().all())


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy, in bits, over the last dimension."""
    nats: Tensor = torch.special.entr(probabilities).sum(-1)
    return nats / log(2)
