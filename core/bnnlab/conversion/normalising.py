"""Mean and standard deviation, by which numbers become inputs."""

import logging
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bnnlab.errors import UsageError, explain
from bnnlab.interfaces.examples import Examples

log = logging.getLogger(__name__)

Numbers = float | Sequence[float]
"""One number, or one per channel."""
Normalise = Literal["train", "none"] | tuple[Numbers, Numbers]
"""By the training data, not at all, or by a mean and a standard deviation."""
TOGETHER = 10_000
"""Rows that are looked at at a time."""


def statistics(normalise: Normalise, parts: Sequence[Examples]) -> dict[str, Tensor]:
    """Return `mean` and `std` of examples, by which inputs are normalised; empty for none.

    They are per channel of images `(C, H, W)`, `(C, 1, 1)`, else per number of the last dimension.
    Of training data, what never changes is divided by 1; so is, with a warning, what changes by no
    more than the rounding of float32.

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
    try:
        mean, std = (torch.as_tensor(each, dtype=torch.float32) for each in given)
    except (TypeError, ValueError) as error:
        raise UsageError(f"normalise: mean and std must be numbers: {explain(error)}") from error
    if any(each.ndim and each.shape != (count,) for each in (mean, std)):
        raise UsageError(
            f"normalise: give mean and std as one number, or as {count}: one per channel."
        )
    if not bool(mean.isfinite().all() & std.isfinite().all() & (std > 0).all()):
        raise UsageError("normalise: mean and std must be finite, and std above 0.")
    return mean.expand(count), std.expand(count)


def _measured(parts: Sequence[Examples], channel: int) -> tuple[Tensor, Tensor]:
    total = apart = squares = torch.zeros((), dtype=torch.float64)
    count, first = 0, None
    for part in parts:
        for rows in torch.split(part.rows, TOGETHER):
            values = part.pixels[rows].double().movedim(1 + channel, 0).flatten(1)
            first = values[:, :1] if first is None else first
            off = values - first  # squares of large numbers would hide a small spread
            total, apart = total + values.sum(1), apart + off.sum(1)
            squares, count = squares + off.square().sum(1), count + values.shape[1]
    mean = total / count
    std = (squares / count - (apart / count).square()).clamp(min=0).sqrt().float()
    varies = std > torch.finfo(torch.float32).eps * mean.abs()
    if few := int((~varies & (std > 0)).sum()):
        log.warning(
            "normalise: %d of %d numbers differ by no more than float32 rounds, and are not "
            "divided by their standard deviation",
            *(few, len(std)),
        )
    return mean.float(), torch.where(varies, std, 1.0)
