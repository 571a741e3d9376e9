"""Why a part with weights cannot become binary."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bnnlab.interfaces.signs import is_binary
from bnnlab.nn.layers import BINARY, WEIGHT_LAYERS, weight_of

TABLES = (nn.Embedding, nn.EmbeddingBag)
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_TAKEN = ("scale", "fixed_scale", "binary_names")
"""Attributes that a binary layer would overwrite."""


def obstacles(module: nn.Module, parts: Mapping[nn.Module, str]) -> dict[str, str]:
    """Return why parts with weights cannot become binary, by their names."""
    modules = dict(module.named_modules())
    parents = {part: modules[name.rpartition(".")[0]] for part, name in parts.items() if name}
    found = {name: _obstacle(part, parents.get(part)) for part, name in parts.items()}
    able = {part: name for part, name in parts.items() if not found[name]}
    return {name: why for name, why in found.items() if why} | shared_with_real(module, able)


def _obstacle(part: nn.Module, parent: nn.Module | None) -> str:
    """Return why a part with weights cannot become binary; empty if it can."""
    if is_binary(part):
        return "it is binary already"
    if isinstance(parent, nn.MultiheadAttention):
        return "attention reads its weight and does not call it"
    if isinstance(part, TABLES):
        return "an embedding is looked up, not multiplied"
    if parametrize.is_parametrized(part):
        return "its weight is computed by a parametrization, which can be removed first"
    if type(part) not in BINARY:
        base = next((each.__name__ for each in WEIGHT_LAYERS if isinstance(part, each)), "")
        return f"a subclass of {base} may do more" if base else "no linear or convolutional layer"
    if "forward" in vars(part):
        return "its forward was replaced on the layer itself"
    weight = part._parameters.get("weight")
    if weight is None:
        sources = ", ".join(name for name in part._parameters if name.startswith("weight"))
        return f"its weight is computed from {sources}: remove the norm or the pruning first"
    if weight.is_nested or weight.layout is not torch.strided:
        kind = "nested" if weight.is_nested else weight.layout
        return f"its weights are {kind}, and only dense ones can become signs"
    if not weight.numel():
        return "it has no weights"
    if weight.dtype not in _FLOATS:
        return f"its weights are {weight.dtype}"
    if weight.is_meta:
        return "its weights are on the meta device"
    dimensions = zip(weight.stride(), weight.shape, strict=True)
    if any(stride == 0 and size > 1 for stride, size in dimensions):
        return "its weights share memory among themselves"
    for name in _TAKEN:
        if hasattr(part, name):
            return f"it has a {name!r} of its own, a binary layer's word"
    return ""


def shared_with_real(module: nn.Module, layers: Mapping[nn.Module, str]) -> dict[str, str]:
    """Return the chosen layers that must stay real because a real part shares their weight.

    The value of each name is the reason. A layer that stays real for this reason is a real part
    itself, so layers that share a weight with it stay real too.
    """
    holders: dict[int, list[tuple[nn.Module, str, Tensor]]] = {}
    for prefix, part in module.named_modules():
        for key, tensor in [*part._parameters.items(), *part._buffers.items()]:
            if tensor is None or not tensor.numel():
                continue
            if tensor.layout is torch.strided and not tensor.is_meta:
                name = f"{prefix}.{key}" if prefix else key
                holders.setdefault(_storage(tensor), []).append((part, name, tensor))
    real: dict[str, str] = {}
    while True:
        found = {}
        for layer, name in layers.items():
            if name in real:
                continue
            weight = weight_of(layer)
            for part, other, tensor in holders.get(_storage(weight), []):
                tied = tensor is weight and part in layers and layers[part] not in real
                if not tied and _overlap(weight, tensor):
                    how = "is" if tensor is weight else "shares its memory with"
                    found[name] = f"its weight {how} {other!r}, which stays real"
        if not found:
            return real
        real |= found


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors overlap in memory."""
    (begin, end), (other_begin, other_end) = _range(one), _range(other)
    return begin < other_end and other_begin < end


def _range(tensor: Tensor) -> tuple[int, int]:
    """Return the address of a tensor's first byte, and the one after its last byte."""
    dimensions = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in dimensions)
    begin = tensor.data_ptr()
    return begin, begin + (last + 1) * tensor.itemsize
