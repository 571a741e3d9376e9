"""Normalisation, activations and arithmetic."""

from typing import Any

import torch
from torch import Tensor, nn

from bnnlab_export.builder import Builder
from bnnlab_export.values import Affine, Curve, Rows, Value


def batch_norm(b: Builder, like: Tensor, norm: Any, x: Value) -> Value:
    """Write batch normalisation, of torch or of bnnlab."""
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
        mean, variance, gamma, beta = norm.running_mean, norm.running_var, norm.weight, norm.bias
    else:
        mean, variance = norm.mean[norm.slot], norm.variance[norm.slot]
        gamma, beta = norm.gamma, norm.beta
    if mean is None or variance is None:
        raise b.refuse("it has no running statistics")
    gain = (variance.double() + norm.eps).rsqrt()
    gain = gain if gamma is None else gain * gamma.detach().double()
    shift = -mean.double() * gain
    shift = shift if beta is None else shift + beta.detach().double()
    return b.waiting(x, Affine(norm, gain, shift), like)


def layer_norm(b: Builder, like: Tensor, norm: nn.LayerNorm, x: Value) -> Value:
    """Write layer normalisation of rows."""
    if like.ndim != 2 or len(norm.normalized_shape) != 1:
        raise b.refuse("it normalises other things than rows (F,)")
    return b.waiting(x, _rows(1, norm), like)


def group_norm(b: Builder, like: Tensor, norm: nn.GroupNorm, x: Value) -> Value:
    """Write group normalisation of rows or maps."""
    if x.order is not None and norm.num_groups > 1:
        raise b.refuse("its groups are of a flattened map: put a layer between them")
    return b.waiting(x, _rows(norm.num_groups, norm), like)


def sign(b: Builder, like: Tensor, layer: nn.Module, x: Value) -> Value:
    """Write the sign."""
    return b.signs(x, layer, like)


def rising(name: str) -> Any:
    """Return what writes an activation that rises everywhere, `name` of the op `activate`."""

    def write(b: Builder, like: Tensor, layer: Any, x: Value) -> Value:
        _expect_usual(b, layer)
        more = {"slope": layer.negative_slope} if name == "leaky-relu" else {}
        return b.waiting(x, Curve(layer, {"function": name, **more}), like)

    return write


def prelu(b: Builder, like: Tensor, x: Value, slope: Tensor) -> Value:
    """Write PReLU, with one slope or one per channel: max(x, 0) - slope max(-x, 0)."""
    x = b.real(x)
    above, below = (
        b.waiting(each, Curve(torch.relu, {"function": "relu"}), like)
        for each in (x, multiply(b, like, x, -1))
    )
    per_channel = slope.detach().view(-1, *[1] * (like.ndim - 2))
    return add(b, like, above, multiply(b, like, below, -per_channel))


def curved(name: str) -> Any:
    """Return what writes any other activation. A gate gives signs."""

    def write(b: Builder, like: Tensor, layer: Any, x: Value) -> Value:
        _expect_usual(b, layer)
        width = getattr(layer, "width", getattr(layer, "_width", None))
        more: dict[str, Any] = {}
        if width is not None and name != "heaviside":
            more["width"] = float(width)
        x = b.real(x)
        number = b.program.add("activate", x.number, function=name, **more)
        made = Value(number, "real", like, order=x.order)
        return b.signs(made, layer, like) if name == "gate" else made

    return write


def _expect_usual(b: Builder, layer: Any) -> None:
    """Refuse an activation of torch with other constants than the program knows."""
    usual: dict[type, dict[str, Any]] = {
        nn.Hardtanh: {"min_val": -1.0, "max_val": 1.0},
        nn.Softplus: {"beta": 1.0, "threshold": 20.0},
        nn.GELU: {"approximate": "none"},
    }
    for name, value in usual.get(type(layer), {}).items():
        if getattr(layer, name) != value:
            raise b.refuse(f"its {name} is {getattr(layer, name)!r}, and {value!r} alone is known")


def add(b: Builder, like: Tensor, one: Any, other: Any) -> Value:
    """Write a sum of two values, or of a value and numbers."""
    if isinstance(one, Value) and isinstance(other, Value):
        return _of_two(b, "add", like, one, other)
    x, number = _parted(one, other)
    each = _per_channel(b, like, x, number)
    return b.waiting(x, Affine(lambda y: y + number, torch.ones_like(each), each), like)


def subtract(b: Builder, like: Tensor, one: Any, other: Any) -> Value:
    """Write a difference of two values, or of a value and numbers."""
    if isinstance(other, Value):
        other = multiply(b, other.like, other, -1)
        return add(b, like, one, other)
    return add(b, like, one, -other)


def multiply(b: Builder, like: Tensor, one: Any, other: Any) -> Value:
    """Write a product of two values, or of a value and numbers."""
    if isinstance(one, Value) and isinstance(other, Value):
        if one.like[0].numel() < other.like[0].numel():
            one, other = other, one
        return _of_two(b, "multiply", like, one, other)
    x, number = _parted(one, other)
    each = _per_channel(b, like, x, number)
    return b.waiting(x, Affine(lambda y: y * number, each, 0 * each, False), like)


def divide(b: Builder, like: Tensor, one: Any, other: Any) -> Value:
    """Write a value divided by numbers."""
    if isinstance(other, Value):
        raise b.refuse("it divides by a value of the network")
    each = _per_channel(b, like, one, other)
    if bool((each == 0).any()):
        raise b.refuse("it divides by 0")
    return b.waiting(one, Affine(lambda y: y / other, 1 / each, 0 * each, False), like)


def _of_two(b: Builder, op: str, like: Tensor, one: Value, other: Value) -> Value:
    gate = (*one.like.shape[:2], 1, 1)
    is_gate = op == "multiply" and one.like.ndim == 4 and tuple(other.like.shape) == gate
    same_order = one.order is other.order or (
        one.order is not None and other.order is not None and torch.equal(one.order, other.order)
    )
    if not same_order or (one.like.shape != other.like.shape and not is_gate):
        raise b.refuse(f"{op} of {tuple(one.like.shape)} and {tuple(other.like.shape)}")
    one, other = b.real(one), b.real(other)
    if is_gate and one.like.shape != other.like.shape:
        other = b.flat(other, other.like.flatten(1))
    return Value(b.program.add(op, one.number, other.number), "real", like, order=one.order)


def _parted(one: Any, other: Any) -> tuple[Value, Any]:
    """Return the value of the network first."""
    return (one, other) if isinstance(one, Value) else (other, one)


def _per_channel(b: Builder, like: Tensor, x: Value, number: float | Tensor) -> Tensor:
    """Return the number of each channel that a value is computed with, float64 `(C,)`."""
    if not isinstance(number, Tensor):
        return torch.full((like.shape[1],), float(number), dtype=torch.float64)
    is_for_rows = number.ndim == like.ndim and len(number) > 1
    if x.like.shape != like.shape or is_for_rows:
        raise b.refuse(f"it computes with {tuple(x.like.shape)} and {tuple(number.shape)}")
    channels = number.detach().double().expand_as(like)[0].reshape(like.shape[1], -1)
    if not bool((channels == channels[:, :1]).all()):
        raise b.refuse("it has other numbers at other positions of a channel")
    return channels[:, 0]


def _rows(groups: int, norm: Any) -> Rows:
    """Return a row normalisation. With a gain, torch adds 0 where there is no shift: -0 is +0."""
    if norm.weight is None:
        return Rows(groups, norm.eps, None, None)
    gain = norm.weight.detach()
    shift = torch.zeros_like(gain) if norm.bias is None else norm.bias.detach()
    return Rows(groups, norm.eps, gain, shift)
