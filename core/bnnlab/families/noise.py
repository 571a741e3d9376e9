"""Random numbers of 16 bits each, for the noise of weights: uniform, logistic and Gaussian.

Each is one of 65,536 equally likely values, those of the distribution's quantile function at
u = (k + 1/2) / 2^16. That is fine enough for weights, and faster than torch's 24 bits a number and
their logarithms, which are a large part of a step. The Gaussian values lie between -4.33 and 4.33,
and are scaled to a variance of 1.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from bnnlab.interfaces.elementwise import chunks

NEAREST = 2.0**-17
"""u is at least this far from 0 and 1, where a logit is infinite."""


def uniform_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a contiguous tensor with numbers uniform in (0, 1); return it."""
    for (part,) in chunks(out):
        k = _bits(part, generator).view(part.shape)  # -2^15 to 2^15 - 1
        part.copy_(k).mul_(2.0**-16).add_(0.5 + NEAREST)
    return out


def logistic_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a contiguous tensor with log(u / (1 - u)), for u as in `uniform_`; return it."""
    return _look_up(torch.logit, out, generator)


def normal_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a contiguous tensor with Gaussian numbers of mean 0 and variance 1; return it."""
    return _look_up(_quantiles, out, generator)


def _bits(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random int16 for each number of a tensor, in one dimension."""
    count = like.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=like.device)
    return bits.random_(-(2**63), None, generator=generator).view(torch.int16)[:count]


def _look_up(values: Callable[[Tensor], Tensor], out: Tensor, generator: torch.Generator) -> Tensor:
    table = _table(values, out.dtype, out.device)
    for (part,) in chunks(out):
        index = _bits(part, generator).view(torch.uint16).int()
        torch.index_select(table, 0, index, out=part.view(-1))
    return out


@cache
def _table(values: Callable[[Tensor], Tensor], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the 65,536 values, in the order of k as an unsigned number."""
    k = torch.arange(1 << 16).to(torch.int16).double()  # from 2^15 on: negative
    return values(k.mul_(2.0**-16).add_(0.5 + NEAREST)).to(device, dtype)


def _quantiles(u: Tensor) -> Tensor:
    """Return Gaussian quantiles, scaled to a mean square of 1."""
    z = torch.special.ndtri(u)
    scaled: Tensor = z / z.square().mean().sqrt()
    return scaled
