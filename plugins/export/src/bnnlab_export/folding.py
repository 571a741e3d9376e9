"""Fold a chain that ends in a sign into thresholds: one comparison per channel.

All functions of the chain rise or fall in each channel. So does their composition, in float32, too,
as rounding keeps the order. So the number at which the model's own modules change the sign is found
by bisection, and comparisons agree with the model at every number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab_export.values import Affine, Curve, Item, MaxPool, Rows, Value, composed, shifts

LARGEST = 1e30
"""Size of real numbers up to which thresholds are looked for."""
CHECKED = 32
"""Random numbers per channel at which a fold is compared with the modules."""
ROUNDING = 1e-12
"""Relative error of float64 that does not make a tie a number below the mean."""


def thresholds(
    chain: Sequence[Item], sign: Callable[[Tensor], Tensor], like: Tensor, bound: int
) -> tuple[Tensor, Tensor]:
    """Return thresholds t and flips `(C,)`: the sign is +1 where (x >= t) is not the flip.

    Args:
        chain: What is done to x before the sign; pooling is left out.
        sign: The last function.
        like: An example of what the sign gets, `(2, C)` or `(2, C, H, W)`.
        bound: The largest size of whole numbers x; 0 for real ones.

    Raises:
        RunError: If the chain does not only rise or only fall in a channel.
    """

    def is_plus(keys: Tensor) -> Tensor:
        return through(chain, _numbers(keys, bound), like, sign) > 0

    channels = like.shape[1]
    low = torch.full((channels,), -bound if bound else int(_keys(torch.tensor(-LARGEST))))
    high = torch.full((channels,), bound if bound else int(_keys(torch.tensor(LARGEST))))
    first = is_plus(low)
    changes = first != is_plus(high)
    flips = torch.where(changes, first, ~first)
    below, above = low.clone(), high.clone()  # the sign changes in (below, above]
    while bool((above - below > 1).any()):
        middle = (below + above).div(2, rounding_mode="floor")
        is_first = is_plus(middle) == first
        below, above = torch.where(is_first, middle, below), torch.where(is_first, above, middle)
    found = torch.where(changes, above, low)
    _check(is_plus, found, flips, (low, high), near=bool(bound))
    return _numbers(found, bound), flips


def falls_after(
    chain: Sequence[Item], sign: Callable[[Tensor], Tensor], like: Tensor, bound: int, place: int
) -> Tensor:
    """Return whether the part of a chain behind this place falls, bool `(C,)`."""
    ends = torch.full((2, like.shape[1]), float(bound or LARGEST))
    ends[0] *= -1
    before = torch.stack([through(chain[:place], each, like) for each in ends])
    low, high = (
        through(chain[place + 1 :], each, like, sign) > 0
        for each in (before.amin(0), before.amax(0))
    )
    return low & ~high


def above_mean(value: Value) -> dict[str, Any] | None:
    """Return the op `row_threshold` that is the sign of normalised rows; None if there is none.

    Without gain and shift, the sign says whether a number is at or above the mean of its n numbers.
    Of y = f x + b with f > 0, this is n x - sum(x) >= (sum(b) - n b) / f, in whole numbers.
    """
    if value.kind != "sums" or not value.chain:
        return None
    *before, last = value.chain
    if not isinstance(last, Rows) or last.gain is not None:
        return None
    if last.shift is not None or not all(isinstance(each, Affine) for each in before):
        return None
    factor, shift = composed(before, value.like.shape[1])
    if not bool((factor > 0).all() and (factor == factor[0]).all()):
        return None
    groups = shift.view(last.groups, -1)
    count = value.like[0].numel() // last.groups
    positions = value.like[0, 0].numel()
    least = (positions * groups.sum(1, keepdim=True) - count * groups).flatten() / factor
    least = value.in_order((least - ROUNDING * least.abs()).ceil())
    if bool((least.abs() >= 2**31).any()):
        return None
    tensors = {"t": least.int().numpy()} if shifts(before) else {}
    return {"groups": last.groups, "tensors": tensors}


def through(
    chain: Sequence[Item],
    numbers: Tensor,
    like: Tensor,
    sign: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """Return what becomes of numbers per channel, `(C,)` or `(N, C)`, in maps full of them."""
    rows = numbers.view(-1, like.shape[1], *[1] * (like.ndim - 2))
    x = rows.expand(max(len(rows), len(like)), *like.shape[1:]).contiguous()
    for item in chain:
        if isinstance(item, Affine | Curve):
            x = item.run(x)
        elif not isinstance(item, MaxPool):
            raise TypeError(f"{type(item).__name__} does not act on each channel alone")
    found = sign(x)[: len(rows)].reshape(len(rows), like.shape[1], -1)
    return found[..., 0].reshape(numbers.shape)


def _keys(x: Tensor) -> Tensor:
    """Return whole numbers in the order of float32 numbers; -0 comes before +0."""
    bits = x.view(torch.int32).long()
    return torch.where(bits >= 0, bits, bits ^ 0x7FFFFFFF)


def _numbers(keys: Tensor, bound: int) -> Tensor:
    """Return the float32 numbers of keys; of whole numbers, these themselves."""
    if bound:
        return keys.float()
    bits = torch.where(keys >= 0, keys, keys ^ 0x7FFFFFFF)
    return bits.to(torch.int32).view(torch.float32)


def _check(
    is_plus: Callable[[Tensor], Tensor],
    found: Tensor,
    flips: Tensor,
    ends: tuple[Tensor, Tensor],
    near: bool,
) -> None:
    """Compare thresholds with the modules at random numbers, and `near` them: at whole numbers."""
    low, high = ends
    draws = torch.Generator().manual_seed(0)
    shape = (CHECKED, len(found))
    anywhere = low + (torch.rand(shape, generator=draws).double() * (high - low)).long()
    closest = [(found + step).clamp(low, high) for step in (-2, -1, 0, 1) if near]
    keys = torch.stack([*closest, *anywhere])
    if not torch.equal(is_plus(keys), (keys >= found) != flips):
        raise RunError("what is before a sign rises and falls: it has no threshold")
