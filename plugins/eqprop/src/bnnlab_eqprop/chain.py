"""A model's segments as the layers of a dynamical network.

The states are s_0 = x, the input, and s_1, ..., s_L, one behind each weight layer, in the shape of
what the layer and its pooling return. The primitive function (Ernoult et al., "Updates of
Equilibrium Prop Match Gradients of Backprop Through Time", NeurIPS 2019) is

    Phi = sum_l s_l . a_l,    a_l = pool_l(W_l * s_{l-1} + b_l),

with * a product or a convolution and W_l = alpha_l w_l, the weights times the layer's scale.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

from bnnlab.errors import UsageError, explain
from bnnlab.nn.layers import BinaryConv2d, BinaryLinear, Linear
from bnnlab_eqprop.units import ACTIVATIONS, BinaryUnit, MeanOfCopies

WEIGHTS = (nn.Linear, nn.Conv2d, Linear, BinaryLinear, BinaryConv2d)

NARROW = 16
"""Outputs below which a product with W.T takes less time with the batch last in memory."""


class Layer:
    """A weight layer, the pooling behind it, and its units.

    Args:
        weights: One of `WEIGHTS`.
        pool: Max pooling of what the weights return, if any.
        unit: sigma, or a `BinaryUnit`.

    Attributes:
        shape: Of the state behind it, without the batch.
    """

    shape: tuple[int, ...]

    def __init__(
        self, weights: nn.Linear | nn.Conv2d, pool: nn.MaxPool2d | None, unit: nn.Module
    ) -> None:
        self.weights, self.pool, self.unit = weights, pool, unit
        self._overlap = pool is not None and _overlaps(pool)

    def alpha(self, dims: int) -> Tensor | float:
        """Return the weights' scale, viewed for a tensor of so many dimensions, outputs first."""
        learned = getattr(self.weights, "scale", None)
        if isinstance(learned, Tensor):
            return learned.view(-1, *[1] * (dims - 1))
        return float(getattr(self.weights, "fixed_scale", 1.0))

    def weight(self) -> Tensor:
        """Return W = alpha w."""
        w = self.weights.weight
        return w * self.alpha(w.ndim)

    def drive(self, below: Tensor, W: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return a, which drives the state from below, and the places that pooling chose.

        Args:
            below: What the state below puts out, `(B, ...)`.
            W: As `weight` returned it; None to scale the product in place of the weights.
        """
        layer = self.weights
        if isinstance(layer, nn.Linear):
            z = self._linear(below.flatten(1), W)
        else:
            z = layer(below) if W is None else F.conv2d(below, W, layer.bias, **_geometry(layer))
        pool = self.pool
        if pool is None:
            return z, None
        self.unpooled = z.shape[1:]
        a, chosen = F.max_pool2d(
            z, pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, True
        )
        return a, chosen

    def _linear(self, x: Tensor, W: Tensor | None) -> Tensor:
        """Return W x + b, `(B, outputs)`; in memory, the batch is the last dimension.

        So the products of a layer with few outputs take half of the time.
        """
        layer, alpha = self.weights, 1.0 if W is not None else self.alpha(2)
        W = layer.weight if W is None else W
        if isinstance(alpha, Tensor):
            z = torch.mm(W, x.mT) * alpha
            return (z if layer.bias is None else z + layer.bias[:, None]).mT
        x = x if alpha == 1 else x * alpha  # there are fewer inputs than weights
        z = torch.mm(W, x.mT) if layer.bias is None else torch.addmm(layer.bias[:, None], W, x.mT)
        return z.mT

    def start(self, a: Tensor, value: float) -> Tensor:
        """Return states of one value, for the batch of `a`, in memory as `drive` returns them."""
        if isinstance(self.weights, nn.Linear):
            return a.new_full((*self.shape, len(a)), value).mT
        return a.new_full((len(a), *self.shape), value)

    def unpool(self, above: Tensor, chosen: Tensor | None) -> Tensor:
        """Return a state put back to the places that pooling chose, zeros elsewhere."""
        if chosen is None:
            return above
        flat = above.new_zeros(len(above), self.unpooled[0], self.unpooled[1:].numel())
        put = flat.scatter_add_ if self._overlap else flat.scatter_  # the latter is 10 times faster
        return put(2, chosen.flatten(2), above.flatten(2)).view(-1, *self.unpooled)

    def feedback(self, a: Tensor, above: Tensor, chosen: Tensor | None, W: Tensor) -> Tensor:
        """Return a, plus what drives the state below from above: the transpose of `drive`.

        Args:
            a: What is added to, in the shape of the state below.
            above: What the state above puts out.
            chosen: As `drive` returned it for the state below.
            W: As `weight` returned it.
        """
        layer = self.weights
        if isinstance(layer, nn.Linear):
            if a.ndim == 2 and len(W) < NARROW:
                return torch.addmm(a.mT, W.mT, above.mT).mT
            return torch.addmm(a.flatten(1), above, W).view_as(a)
        above = self.unpool(above, chosen)
        transposed: Tensor = conv2d_input(a.shape, W, above, **_geometry(layer))  # type: ignore[no-untyped-call]
        return a + transposed

    def derivative(
        self, below: Tensor, above: Tensor, chosen: Tensor | None, out: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return dPhi/dW and dPhi/db, summed over the batch.

        Args:
            below: What the state below puts out.
            above: What the state above puts out.
            chosen: The places that pooling chose for `below`.
            out: Memory for dPhi/dW that may be written over, in a linear layer.
        """
        layer = self.weights
        if isinstance(layer, nn.Linear):
            return torch.mm(above.mT, below.flatten(1), out=out), above.sum(0)
        above = self.unpool(above, chosen)
        W = layer.weight
        dW: Tensor = conv2d_weight(below, W.shape, above, **_geometry(layer))  # type: ignore[no-untyped-call]
        return dW, above.sum((0, 2, 3))

    def leave(self, dW: Tensor, db: Tensor, effective: bool) -> None:
        """Add to `.grad` of the weights, their scale and bias.

        Args:
            dW: Derivative with respect to W = alpha w.
            db: Derivative with respect to the bias.
            effective: Whether weights get dW and not alpha dW, and the scale alpha dW . w and
                not dW . w.
        """
        w, alpha = self.weights.weight, self.alpha(dW.ndim)
        learned = getattr(self.weights, "scale", None)
        if learned is not None:
            dalpha = (dW * w).flatten(1).sum(1)
            dalpha = dalpha if len(learned) > 1 else dalpha.sum(0, keepdim=True)
            _add(learned, dalpha * learned if effective else dalpha)
        _add(w, dW if effective else dW.mul_(alpha))
        if self.weights.bias is not None:
            _add(self.weights.bias, db)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return batches one after the other; in memory, as those of linear layers are."""
    return torch.cat([x.mT for x in parts], 1).mT if parts[0].ndim == 2 else torch.cat([*parts])


def _add(parameter: Tensor, grad: Tensor) -> None:
    if parameter.requires_grad:
        grad = grad.to(parameter.dtype)
        parameter.grad = grad if parameter.grad is None else parameter.grad + grad


def _overlaps(pool: nn.MaxPool2d) -> bool:
    """Say whether two windows may choose the same place."""
    sides = (pool.kernel_size, pool.stride, pool.dilation)
    pairs = zip(*(side if isinstance(side, tuple) else (side, side) for side in sides), strict=True)
    return any(stride < kernel or dilation > 1 for kernel, stride, dilation in pairs)


def _geometry(layer: nn.Conv2d) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}


@torch.no_grad()
def layers_of(
    segments: Iterable[nn.Module], input_shape: tuple[int, ...]
) -> tuple[list[Layer], MeanOfCopies | None]:
    """Return the layers of segments that are a chain of weight layers, and the read-out's mean.

    Raises:
        UsageError: If there is something else in a segment, with its name.
    """
    layers: list[Layer] = []
    copies: MeanOfCopies | None = None
    one = torch.zeros(1, *input_shape)
    for number, segment in enumerate(segments, start=1):
        if copies is not None:
            raise UsageError(f"segment {number - 1}: MeanOfCopies belongs in the last one")
        *parts, last = [p for p in _leaves(segment) if not isinstance(p, nn.Flatten)] or [segment]
        copies = last if isinstance(last, MeanOfCopies) else None
        layer = _layer(number, parts if copies else [*parts, last])
        try:
            one = layer.drive(one.to(layer.weights.weight))[0]
        except RuntimeError as error:
            raise UsageError(
                f"segment {number} cannot be driven by (B, {', '.join(map(str, one.shape[1:]))}): "
                f"{explain(error)}"
            ) from error
        layer.shape = tuple(one.shape[1:])
        layers.append(layer)
    return layers, copies


def _layer(number: int, parts: list[nn.Module]) -> Layer:
    weights: nn.Linear | nn.Conv2d | None = None
    pool: nn.MaxPool2d | None = None
    unit: nn.Module | None = None
    for part in parts:
        if weights is None and type(part) in WEIGHTS:
            assert isinstance(part, nn.Linear | nn.Conv2d)
            weights = part
        elif weights is not None and pool is None and isinstance(part, nn.MaxPool2d):
            pool = part
        elif weights is not None and unit is None and isinstance(part, (*ACTIVATIONS, BinaryUnit)):
            unit = part
        else:
            raise UsageError(
                f"segment {number} has {type(part).__name__}, and for a relaxation it must be one "
                "linear or convolutional layer, max pooling or none, and an activation with an "
                f"energy: {', '.join(each.__name__ for each in ACTIVATIONS)}, alone or in an "
                "nn.Sequential. Take --model eqprop-mlp or eqprop-conv"
            )
    if weights is None:
        raise UsageError(f"segment {number} has no linear or convolutional layer to relax through")
    if isinstance(weights, nn.Conv2d) and (
        isinstance(weights.padding, str) or weights.padding_mode != "zeros"
    ):
        raise UsageError(
            f"segment {number}: a convolution's padding must be zeros, and its size a number"
        )
    return Layer(weights, pool, unit or nn.Identity())


def _leaves(segment: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of a segment in order, out of nested `nn.Sequential`s."""
    if isinstance(segment, nn.Sequential):
        for part in segment:
            yield from _leaves(part)
    else:
        yield segment
