"""Losses of one class per input: of masked logits `(B, K)` and classes `(B,)`, a number per row.

Logits are minus infinity where a class is not the task's: it has no part in the loss. t is the
class in a code of K numbers, z are the logits.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["cross-entropy", "squared-hinge", "squared-error", "bce"]


def cross_entropy(logits: Tensor, classes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return -sum_k t_k log softmax(z)_k, where t is smoothed: (1 - s) of the class, s / K of all.

    Source: label smoothing by Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016.
    """
    loss = F.cross_entropy(logits, classes, reduction="none")
    if smoothing == 0:
        return loss
    every = _mean(-logits.log_softmax(-1), logits)
    return (1 - smoothing) * loss + smoothing * every


def squared_hinge(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean of max(0, 1 - t_k z_k)^2 over k, where t_k is 1 of the class, else -1.

    Source: Courbariaux, Bengio and David, "BinaryConnect", NeurIPS 2015 (L2-SVM).
    """
    signs = 2 * F.one_hot(classes, logits.shape[-1]).to(logits) - 1
    return _mean((1 - signs * logits).clamp(min=0).square(), logits)


def squared_error(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean of (z_k - t_k)^2 over k, where t_k is 1 of the class, else 0."""
    codes = F.one_hot(classes, logits.shape[-1]).to(logits)
    return _mean((logits - codes).square(), logits)


def binary_cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean over k of the cross-entropy of sigmoid(z_k), where t_k is 1 of the class."""
    codes = F.one_hot(classes, logits.shape[-1]).to(logits)
    return _mean(F.softplus(logits) - codes * logits, logits)


LOSSES: Mapping[LossName, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": cross_entropy,
    "squared-hinge": squared_hinge,
    "squared-error": squared_error,
    "bce": binary_cross_entropy,
}


def _mean(values: Tensor, logits: Tensor) -> Tensor:
    """Return the mean of a row's values over the classes whose logits are not minus infinity."""
    has_part = logits != -torch.inf
    return values.where(has_part, 0).sum(-1) / has_part.sum(-1)
