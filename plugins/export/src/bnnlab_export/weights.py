"""Linear and convolutional layers."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.nn.binary_layer import BinaryLayer
from bnnlab_export.builder import Builder
from bnnlab_export.exported import Layer
from bnnlab_export.packing import Array, pack
from bnnlab_export.values import Affine, Value

EXACT = 2**24
"""Up to this size float32 holds every whole number."""


def linear(b: Builder, like: Tensor, layer: Any, input: Value) -> Value:
    """Write a linear layer, of torch or binary."""
    if like.ndim != 2:
        raise b.refuse(f"it takes inputs {tuple(input.like.shape[1:])}, and rows (F,) are known")
    weight, x = layer.weight.detach(), input
    outputs, inputs = weight.shape
    uniform = b.pixels.uniform() if x.kind == "pixels" and b.pixels.dtype == "uint8" else None
    if _is_binary(layer) and x.kind == "bits":
        words = weight[:, _order(x, inputs)].view(outputs, x.positions, -1)
        packed = pack(words).reshape(outputs, -1).T.copy()
        number = b.program.add("bit_linear", x.number, tensors={"weight": packed})
        made = Value(number, "sums", like, bound=inputs)
    elif _is_binary(layer) and uniform and 255 * inputs < EXACT:
        packed = pack(weight).T.copy()
        number = b.program.add("plane_linear", x.number, tensors={"weight": packed})
        waiting = (_of_pixels(weight, *uniform),)
        made = Value(number, "sums", like, waiting, bound=255 * inputs)
    else:
        x = b.real(x)
        its = _stored(layer, weight[:, _order(x, inputs)])
        made = Value(b.program.add("linear", x.number, tensors={"weight": its}), "real", like)
    _note(b, layer, input, weight.numel(), made)
    return _scaled(b, layer, made, like)


def conv(b: Builder, like: Tensor, layer: Any, input: Value) -> Value:
    """Write a convolution of maps, of torch or binary."""
    if layer.padding_mode != "zeros":
        raise b.refuse(f"its padding is {layer.padding_mode!r}, and only zeros are known")
    weight, groups = layer.weight.detach(), layer.groups
    sizes: dict[str, Any] = {
        "kernel": [*layer.kernel_size],
        "stride": [*layer.stride],
        "padding": _padding(b, layer),
        "dilation": [*layer.dilation],
        "groups": groups,
    }
    last = weight.permute(0, 2, 3, 1)  # (O, kh, kw, C / groups)
    whole_words = groups == 1 or last.shape[-1] % 64 == 0
    if _is_binary(layer) and input.kind == "bits" and whole_words:
        packed = pack(last).reshape(len(last), -1).T.copy()
        number = b.program.add("bit_conv", input.number, tensors={"weight": packed}, **sizes)
        made = Value(number, "sums", like, bound=weight[0].numel())
    else:
        its = _stored(layer, last)
        number = b.program.add("conv", b.real(input).number, tensors={"weight": its}, **sizes)
        made = Value(number, "real", like)
    _note(b, layer, input, weight.numel() * like[0, 0].numel(), made)
    return _scaled(b, layer, made, like)


def _is_binary(layer: nn.Module) -> bool:
    return isinstance(layer, BinaryLayer)


def _order(x: Value, inputs: int) -> Tensor:
    return torch.arange(inputs) if x.order is None else x.order


def _stored(layer: nn.Module, weight: Tensor) -> Array:
    """Return weights for real inputs: packed along all inputs of an output if they are signs."""
    if _is_binary(layer):
        return pack(weight.flatten(1))
    return weight.float().contiguous().numpy()


def _padding(b: Builder, layer: Any) -> list[int]:
    if layer.padding == "valid":
        return [0] * len(layer.kernel_size)
    if layer.padding != "same":
        return [*layer.padding]
    both = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if any(each % 2 for each in both):
        raise b.refuse("its padding 'same' is larger on one side")
    return [each // 2 for each in both]


def _of_pixels(weight: Tensor, mean: float, std: float) -> Affine:
    """Return what the sums of normalised pixels are, by the sums of pixels as stored."""
    sums = weight.double().sum(1)

    def run(x: Tensor) -> Tensor:
        return ((x.double() - mean * sums) / std).float()

    return Affine(run, torch.full_like(sums, 1 / std), -mean / std * sums, mean != 0)


def _scaled(b: Builder, layer: Any, made: Value, like: Tensor) -> Value:
    """Put the scale and the bias of a layer behind its sums."""
    dims, ones = like.ndim - 2, torch.ones(like.shape[1], dtype=torch.float64)
    shift = 0 * ones if layer.bias is None else layer.bias.detach().double()
    if isinstance(layer, BinaryLayer):
        own = layer.fixed_scale if layer.scale is None else layer.scale.detach().double()
        gain = own * ones
        if bool((gain == 1).all()) and layer.bias is None:
            return made
        run = partial(layer._scale_and_shift, dims=dims)
        return b.waiting(made, Affine(run, gain, shift, layer.bias is not None), like)
    if layer.bias is None:
        return made
    bias = layer.bias.detach().view(-1, *[1] * dims)
    return b.waiting(made, Affine(lambda x: x + bias, ones, shift), like)


def _note(b: Builder, layer: nn.Module, input: Value, operations: int, made: Value) -> None:
    """Note what a layer computes, and why it is real where it is."""
    step = b.program.steps[made.number - 1]
    why = ""
    if not _is_binary(layer):
        why = "its weights are real"
    elif made.kind == "real":
        why = {
            "pixels": "its inputs are the images",
            "bits": "its groups are no whole words of 64 channels",
        }.get(input.kind, "its inputs are real numbers")
    b.layers.append(Layer(b.place, step["op"], operations, 1 if _is_binary(layer) else 32, why))
