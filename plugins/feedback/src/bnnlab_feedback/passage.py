"""The way of the error back through a layer, by another weight than the layer's own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from bnnlab.errors import RunError, UsageError
from bnnlab.guards.module_state import undisturbed
from bnnlab.guards.probing import probe_inputs
from bnnlab.interfaces.model import Model
from bnnlab.nn.binary_layer import BinaryLayer
from bnnlab.nn.layers import WEIGHT_LAYERS

_BY_FUNCTIONS = (nn.MultiheadAttention, nn.Bilinear, nn.RNNBase, nn.RNNCellBase)

Other = Callable[[Tensor], Tensor]
"""Maps the weight of a layer to the one, of its shape, that the error passes instead."""


def passed_layers(model: Model, rule: str) -> dict[str, Any]:
    """Return the linear and convolutional layers whose inputs depend on parameters, by name.

    Args:
        model: It is run once, in evaluation mode, and left as it was.
        rule: The rule's name, for messages.

    Raises:
        UsageError: If the model does not know its input's shape; or if the error passes no such
            layer, weights that functions read, or a convolution that pads with other than zeros, or
            unequally.
    """
    if model.input_shape is None:
        raise UsageError(
            f"{rule} must know the shape of an input to find the layers that pass the error back: "
            "pass input_shape=(...) to binarize() or Model()"
        )
    called: dict[nn.Module, bool] = {}

    def note(layer: nn.Module, args: tuple[Any, ...]) -> None:
        called[layer] = called.get(layer, False) or args[0].requires_grad

    layers = {name: m for name, m in model.named_modules() if isinstance(m, WEIGHT_LAYERS)}
    floats = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
    leaves = {name: p.detach().requires_grad_() for name, p in floats.items()}  # frozen ones, too
    x = probe_inputs(model, model.input_shape, tokens=model.tokens)
    with undisturbed(model), torch.enable_grad():
        for layer in layers.values():
            layer.register_forward_pre_hook(note)
        functional_call(model.eval(), leaves, (x,))
    passed = {name: layer for name, layer in layers.items() if called.get(layer)}
    if not passed:
        raise UsageError(
            f"{rule} needs a linear or convolutional layer that the error passes on its way to "
            "another one, and this model has none: give it a hidden layer, or take rule=bp"
        )
    for name, part in model.named_modules():
        if isinstance(part, _BY_FUNCTIONS) or (name in layers and part not in called):
            raise UsageError(
                f"{rule} needs layers that are called as modules, and the weights of {name} "
                f"({type(part).__name__}) are read by a function, or not at all: take a model "
                "without it, or another rule, such as dfa"
            )
        if name in passed and _pads_otherwise(part):
            raise UsageError(
                f"{rule} takes convolutions that pad with zeros, equally many at both ends, and "
                f"{name} does not: give it padding_mode='zeros', and numbers for its padding"
            )
    return passed


class _Passage(torch.autograd.Function):
    """Leave y as it is; its gradient d is also x's, as back(d)."""

    @staticmethod
    def forward(ctx: Any, _x: Tensor, y: Tensor, back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.back = back
        ctx.mark_dirty(y)  # the output is y and no view of it: what follows may change it in place
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor, None]:
        return ctx.back(d), d, None


@contextmanager
def passages(
    model: nn.Module, others: Mapping[str, Other], dtype: torch.dtype | None = None
) -> Iterator[None]:
    """Let the error of what runs meanwhile pass layers by other weights than their own.

    The gradients of a layer's own parameters are autograd's.

    Args:
        model: The model.
        others: Per name of a layer, what gives the other weight. It is called on the way back.
        dtype: Of products on the way back; None: that of the error.

    Raises:
        RunError: If the error would pass a layer of another name.
    """
    names = {m: name for name, m in model.named_modules() if isinstance(m, WEIGHT_LAYERS)}
    inputs: list[Tensor] = []

    def enter(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        inputs.append(args[0])
        return (args[0].detach(), *args[1:])

    def leave(layer: Any, _: tuple[Any, ...], y: Tensor) -> Tensor:
        x, name = inputs.pop(), names[layer]
        shape, kind = x.shape, x.dtype
        if not x.requires_grad:
            return y
        if name not in others:
            raise RunError(
                f"the error would pass {name} in training, and in evaluation it passes only "
                f"{', '.join(others) or 'no layer'}: the model must call the same layers in both"
            )

        def back(d: Tensor) -> Tensor:
            B = others[name](layer.weight.detach()).to(dtype or d.dtype)
            with torch.autocast(d.device.type, enabled=False):
                return transposed(layer, B, d, shape).to(kind)

        found: Tensor = _Passage.apply(x, y, back)
        return found

    handles = [layer.register_forward_pre_hook(enter) for layer in names]
    handles += [layer.register_forward_hook(leave) for layer in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def transposed(layer: Any, B: Tensor, d: Tensor, shape: torch.Size) -> Tensor:
    """Return the gradient at a layer's input for d at its output, with B in its weight's place.

    The scale of a binary layer is the same in both directions. The result has the dtype of B.

    Args:
        layer: A linear or convolutional layer.
        B: Of the shape of the layer's weight.
        d: Of the shape of the layer's output.
        shape: Of the layer's input.
    """
    is_linear = isinstance(layer, nn.Linear)
    if isinstance(layer, BinaryLayer):
        ones = [1] * (0 if is_linear else d.ndim - 2)
        d = d * (layer.fixed_scale if layer.scale is None else layer.scale.detach().view(-1, *ones))
    if is_linear:
        return d.to(B) @ B
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        d.to(B), d.new_empty(1).to(B).expand(shape), B, None, layer.stride, _padding(layer),
        layer.dilation, layer.transposed, layer.output_padding, layer.groups, (True, False, False),
    )  # fmt: skip
    return found[0]


def _padding(layer: Any) -> tuple[int, ...]:
    """Return how many zeros a convolution puts at both ends of each dimension."""
    if isinstance(layer.padding, str):
        return tuple(layer._reversed_padding_repeated_twice[::-2])
    return tuple(layer.padding)


def _pads_otherwise(layer: Any) -> bool:
    """Return whether a layer pads with something else, or unequally."""
    if isinstance(layer, nn.Linear):
        return False
    ends = layer._reversed_padding_repeated_twice
    return bool(layer.padding_mode != "zeros" or ends[::2] != ends[1::2])
