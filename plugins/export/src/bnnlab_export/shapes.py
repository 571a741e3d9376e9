"""Pooling, flattening and concatenation."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnnlab_export.builder import Builder
from bnnlab_export.packing import pack
from bnnlab_export.values import MaxPool, Value

Sides = int | tuple[int, ...]


def nothing(b: Builder, like: Tensor, layer: nn.Module, x: Value) -> Value:  # noqa: ARG001
    """Write a layer that does nothing in evaluation, as dropout."""
    return x


def max_pool(b: Builder, like: Tensor, pool: Any, x: Value) -> Value:
    """Write max pooling: of signs, where the values are signs or become some."""
    sizes = {**_sizes(pool), "dilation": _pair(pool.dilation), "ceil": bool(pool.ceil_mode)}
    if x.kind != "bits":
        return b.waiting(x, MaxPool(sizes), like)
    none = pack(torch.zeros(like.shape[1]))
    return Value(b.program.add("or_pool", x.number, tensors={"flip": none}, **sizes), "bits", like)


def avg_pool(b: Builder, like: Tensor, pool: nn.AvgPool2d, x: Value) -> Value:
    """Write average pooling."""
    if pool.divisor_override is not None:
        raise b.refuse("it has a divisor of its own")
    outside = bool(pool.count_include_pad)
    return _average(b, like, x, outside, ceil=bool(pool.ceil_mode), **_sizes(pool))


def adaptive_avg_pool(b: Builder, like: Tensor, pool: nn.Module, x: Value) -> Value:  # noqa: ARG001
    """Write average pooling to a size that divides the map's."""
    if x.like.shape == like.shape:
        return x
    before, after = x.like.shape[2:], like.shape[2:]
    if any(side % into for side, into in zip(before, after, strict=True)):
        raise b.refuse(f"it averages {tuple(before)} to {tuple(after)}, which does not divide it")
    kernel = [side // into for side, into in zip(before, after, strict=True)]
    sizes: dict[str, Any] = {"kernel": kernel, "stride": kernel, "padding": [0, 0]}
    return _average(b, like, x, True, ceil=False, **sizes)


def mean(b: Builder, like: Tensor, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    """Write the mean over a map's positions."""
    dims = {each % x.like.ndim for each in ([dim] if isinstance(dim, int) else dim or [])}
    if x.like.ndim != 4 or dims != {2, 3}:
        raise b.refuse(f"the mean over dimensions {dim} of {tuple(x.like.shape)}")
    if keepdim:
        return adaptive_avg_pool(b, like, nn.Identity(), x)
    return Value(b.program.add("mean", b.real(x).number), "real", like)


def flatten(b: Builder, like: Tensor, layer: Any, x: Value) -> Value:  # noqa: ARG001
    """Write what makes rows of maps."""
    if like.ndim != 2 or like.numel() != x.like.numel() or len(like) != len(x.like):
        raise b.refuse(f"it makes {tuple(like.shape)} of {tuple(x.like.shape)}")
    return b.flat(x, like)


def cat(b: Builder, like: Tensor, values: Any, dim: int = 0) -> Value:
    """Write a concatenation of channels. Of signs, it has signs."""
    if dim % like.ndim != 1 or any(not isinstance(each, Value) for each in values):
        raise b.refuse("it joins other things than channels of the network's values")
    if any(each.order is not None for each in values):
        raise b.refuse("it joins maps that are flattened: join them before")
    are_signs = all(each.kind == "bits" for each in values)
    number = b.program.add("concat", *(b.real(each).number for each in values))
    made = Value(number, "real", like)
    return b.signs(made, torch.sign, like) if are_signs else made


def _average(b: Builder, like: Tensor, x: Value, count_outside: bool, **sizes: Any) -> Value:
    number = b.pool(b.real(x).number, "avg", count_outside, dilation=[1, 1], **sizes)
    return Value(number, "real", like)


def _sizes(pool: Any) -> dict[str, list[int]]:
    """Return kernel, stride and padding, two numbers each."""
    stride = pool.kernel_size if pool.stride is None else pool.stride
    given = {"kernel": pool.kernel_size, "stride": stride, "padding": pool.padding}
    return {name: _pair(each) for name, each in given.items()}


def _pair(sides: Sides) -> list[int]:
    return [int(each) for each in np.broadcast_to(sides, 2)]
