"""Whether the tasks of a stream show their examples in one way."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bnnlab.interfaces.examples import Examples


def is_shown_alike(one: Examples, other: Examples) -> bool:
    """Return whether two parts are rows of one data set, shown in the same way."""
    return (
        one.pixels is other.pixels
        and one.labels is other.labels
        and one.augment == other.augment
        and all(
            _equal(getattr(one, name), getattr(other, name))
            for name in ("mean", "std", "permutation")
        )
    )


def prepared(parts: Sequence[Examples]) -> tuple[str, ...]:
    """Return what was done to the data of parts whose examples become one data set."""
    each = dict.fromkeys(
        (*part.prepared, *(["with permuted pixels"] if part.permutation is not None else []))
        for part in parts
    )
    if len(each) == 1:
        return next(iter(each))
    return (f"one of: {'; '.join(', '.join(words) or 'nothing' for words in each)}",)


def is_scaled_alike(one: Examples, other: Examples) -> bool:
    """Return whether two parts have one scale for all pixels, in whatever order these are."""
    pairs = (one.mean, other.mean), (one.std, other.std)
    return all(_equal(mine, its) and (mine is None or mine.numel() == 1) for mine, its in pairs)


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)
