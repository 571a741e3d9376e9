"""Mean and standard deviation, by which numbers become inputs."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples

Numbers = float | Sequence[float]
"""One number, or one per channel."""
Normalise = Literal["train", "none"] | tuple[Numbers, Numbers]
"""By the training data, not at all, or by a mean and a standard deviation."""
TOGETHER = 10_000
"""Rows that are looked at at a time."""


def statistics(normalise: Normalise, parts: Sequence[Examples]) -> dict[str, Tensor]:
    """Return `mean` and `std` of examples, by which inputs are normalised; empty for none.

    They are per channel of images `(C, H, W)`, `(C, 1, 1)`, else per number of the last dimension.
    Of training data, what never changes is divided by 1.

    Raises:
        UsageError: On another mean, std or word.
    """
    if normalise == "none":
        return {}
    shape = parts[0].pixels.shape[1:]
    channel = 0 if len(shape) == 3 else len(shape) - 1
    kept = [size if place == channel else 1 for place, size in enumerate(shape)]
    if normalise == "train":
        mean, std = _measured(parts, channel)
    elif isinstance(normalise, tuple | list) and len(normalise) == 2:
        mean, std = _checked(normalise, shape[channel])
    else:
        raise UsageError('normalise: give "train", "none", or (mean, std).')
    return {"mean": mean.view(kept), "std": std.view(kept)}


def _checked(given: Sequence[Numbers], count: int) -> tuple[Tensor, Tensor]:
    mean, std = (torch.as_tensor(each, dtype=torch.float32) for each in given)
    if any(each.ndim and each.shape != (count,) for each in (mean, std)):
        raise UsageError(
            f"normalise: give mean and std as one number, or as {count}: one per channel."
        )
    if not bool(mean.isfinite().all() & std.isfinite().all() & (std > 0).all()):
        raise UsageError("normalise: mean and std must be finite, and std above 0.")
    return mean.expand(count), std.expand(count)


def _measured(parts: Sequence[Examples], channel: int) -> tuple[Tensor, Tensor]:
    total = squares = torch.zeros((), dtype=torch.float64)
    count = 0
    for part in parts:
        for rows in torch.split(part.rows, TOGETHER):
            values = part.pixels[rows].double().movedim(1 + channel, 0).flatten(1)
            total, squares = total + values.sum(1), squares + values.square().sum(1)
            count += values.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6 * mean.abs(), std, 1.0).float()
