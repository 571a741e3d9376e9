"""What is predicted for examples."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prediction:
    """What is predicted for N examples.

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


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy, in bits, over the last dimension."""
    nats: Tensor = torch.special.entr(probabilities).sum(-1)
    return nats / log(2)
