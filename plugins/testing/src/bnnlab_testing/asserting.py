"""Comparisons that say in words what is wrong.

`torch.testing.assert_close` would import torch's distributed tensors first, which takes seconds.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

RECORD = {
    *("event", "task", "epoch", "step", "seconds", "time"),
    *("loss", "train_accuracy", "validation_accuracy"),
}
"""What the core itself writes into an epoch's line of metrics, beside the diagnostics."""


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


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Return nested data by place, numbers as text or bytes: so that NaN is equal to NaN."""
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    elif isinstance(value, Tensor):
        numbers = value.detach().cpu().double()  # of bfloat16 NumPy knows nothing
        return {place: (str(value.dtype), numbers.numpy().tobytes())}
    else:
        return {place: repr(value)}
    return {at: it for key, part in parts for at, it in flat(part, f"{place}[{key!r}]").items()}


def tensors_in(value: Any, place: str = "") -> dict[str, Tensor]:
    """Return the tensors of nested data, each by its place with dots."""
    if isinstance(value, Tensor):
        return {place: value}
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    found: dict[str, Tensor] = {}
    for key, part in value.items() if isinstance(value, Mapping) else ():
        found |= tensors_in(part, f"{place}.{key}" if place else str(key))
    return found


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the places where two results of `flat` differ."""
    return [at for at in {**one, **other} if one.get(at) != other.get(at)]


def assert_same(message: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Check that two results of `flat` are equal; say at which places they are not."""
    places = differing(one, other)
    assert not places, f"{message} {', '.join(places[:5])}"


def assert_numbers(diagnostics: Any) -> None:
    """Check that what `diagnostics()` returned fits into an epoch's line of metrics."""
    assert isinstance(diagnostics, dict), f"diagnostics() returns {diagnostics!r}, which is no dict"
    for name, value in diagnostics.items():
        assert isinstance(name, str), f"diagnostics(): the name {name!r} is no str"
        assert name not in RECORD, f"diagnostics(): the core writes {name!r} itself"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        assert number, f"diagnostics(): {name} is {value!r}, not a Python number"


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
