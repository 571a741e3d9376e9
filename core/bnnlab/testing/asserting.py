"""Comparisons that say in words what is wrong.

`torch.testing.assert_close` would import torch's distributed tensors first, which takes seconds.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def assert_close(
    some: Sequence[Tensor],
    others: Sequence[Tensor],
    message: str,
    *,
    rtol: float = 1.3e-6,
    atol: float = 1e-5,
) -> None:
    """Check that tensors are the same, to rounding, one by one."""
    assert len(some) == len(others), f"{message}: there are {len(some)} and {len(others)}"
    for one, other in zip(some, others, strict=True):
        made, its = ((tuple(each.shape), each.dtype) for each in (one, other))
        assert made == its, f"{message}: they are {made} and {its}"
        one, other = one.detach().double(), other.detach().double()  # booleans have no difference
        if not torch.allclose(one, other, rtol=rtol, atol=atol):
            apart = float((one - other).abs().max())
            raise AssertionError(f"{message}: they are up to {apart:.3g} apart")


@contextmanager
def refused(error: type[Exception], match: str, otherwise: str) -> Iterator[None]:
    """Check that something raises an error whose text has `match`; say `otherwise` if not."""
    try:
        yield
    except error as raised:
        said = str(raised)
        assert re.search(match, said), f"{otherwise}: it is, but the error says {said!r}"
        return
    raise AssertionError(f"{otherwise}: {error.__name__} is expected")
