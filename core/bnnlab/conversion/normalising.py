"""Mean and standard deviation, by which numbers become inputs."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bnnlab.conversion.dividing import Part
from bnnlab.errors import UsageError

Numbers = float | Sequence[float]
"""One number, or one per channel."""
Normalise = Literal["train", "none"] | tuple[Numbers, Numbers]
"""By the training data, not at all, or by a mean and a standard deviation."""
TOGETHER = 10_000
"""Rows that are looked at at a time."""


def statistics(normalise: Normalise, parts: Sequence[Part]) -> dict[str, Tensor]:
    """Return `mean` and `std` of examples, by which inputs are normalised; empty for none.

    They are per channel of images `(C, H, W)`, `(C, 1, 1)`, else per number of the last dimension.
    What never changes is divided by 1.

    Args:
        normalise: What to do.
        parts: The training data.

    Raises:
        UsageError: If it is none of these.
    """
    if normalise == "none":
        return {}
    shape = parts[0].data.inputs.shape[1:]
    kept = (shape[0], 1, 1) if len(shape) == 3 else (*[1] * (len(shape) - 1), shape[-1])
    if normalise == "train":
        return _measured(parts, kept)
    if not isinstance(normalise, tuple | list) or len(normalise) != 2:
        raise UsageError('normalise: give "train", "none", or (mean, std).')
    mean, std = (torch.as_tensor(each, dtype=torch.float32) for each in normalise)
    if any(each.ndim and each.shape != (math.prod(kept),) for each in (mean, std)):
        raise UsageError(
            f"normalise: give mean and std as one number, or as {math.prod(kept)}: one per channel."
        )
    if not bool(mean.isfinite().all() & std.isfinite().all() & (std > 0).all()):
        raise UsageError("normalise: mean and std must be finite, and std above 0.")
    return {
        "mean": mean.expand(math.prod(kept)).view(kept),
        "std": std.expand(math.prod(kept)).view(kept),
    }


def _measured(parts: Sequence[Part], shape: tuple[int, ...]) -> dict[str, Tensor]:
    channel = 1 if len(shape) == 3 else len(shape)
    total = squares = torch.zeros(math.prod(shape), dtype=torch.float64)
    count = 0
    for part in parts:
        for rows in torch.split(part.rows, TOGETHER):
            values = part.data.inputs[rows].double().movedim(channel, 0).flatten(1)
            total, squares = total + values.sum(1), squares + values.square().sum(1)
            count += values.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6 * mean.abs(), std, 1.0)
    return {"mean": mean.float().view(shape), "std": std.float().view(shape)}
