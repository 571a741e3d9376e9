"""Binarise an arbitrary torch module and cut it into segments."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import nn

from bnnlab.layers import BinaryConv2d, BinaryLinear, Scale, Sign, Surrogate, sign
from bnnlab.model import Model
from bnnlab.segments import cut

Policy = Callable[[str, nn.Module], bool]

_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh, nn.GELU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU,
    nn.Hardswish, nn.LeakyReLU, nn.RReLU, nn.PReLU, nn.Softplus, nn.Sigmoid,
)  # fmt: skip


def binarize(
    module: nn.Module,
    policy: Literal["inner", "all"] | Policy = "inner",
    *,
    scale: Scale = "fan-in",
    activations: Literal["keep", "sign"] = "keep",
    surrogate: Surrogate = "saturating",
    input_shape: tuple[int, ...] | None = None,
) -> Model:
    """Replace weight layers of a module by binary ones, in place, and return it as a `Model`.

    A binary layer starts from the signs of the real weights it replaces and keeps their bias.
    The module is cut into segments, see `cut`.

    Args:
        module: Any module whose `nn.Linear` and `nn.Conv2d` layers are called as modules.
        policy: `inner` keeps the first and the last weight layer real, the field's habit; `all`
            keeps none; or a function of a layer's name and the layer that says if it is binarised.
        scale: Scale of the binary layers: `none`, `fan-in` or `learned`.
        activations: `keep` them, or `sign` to replace every activation module by `Sign`.
        surrogate: Surrogate gradient of the signs: `saturating`, `identity` or `polynomial`.
        input_shape: Shape of one input without the batch; rules such as dfa need it.

    Raises:
        ValueError: If no layer is left to binarise, or an argument is none of its choices.

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.Linear(32, 10))
        >>> list(binarize(net, input_shape=(64,)).binary_parameters())
        ['segments.1.0.weight']
    """
    if activations not in ("keep", "sign"):
        raise ValueError(f"activations {activations!r}: choose 'keep' or 'sign'")
    layers = dict(_weight_layers(module))
    chosen = [name for name in layers if _is_chosen(policy, name, list(layers), layers[name])]
    if not chosen:
        raise ValueError(
            f"no weight layer to binarise: {len(layers)} of nn.Linear and nn.Conv2d found"
            + (f", all kept real by policy {policy!r}; try policy='all'" if layers else "")
        )
    new: dict[nn.Module, nn.Module] = {layers[n]: _binary_layer(layers[n], scale) for n in chosen}
    if activations == "sign":
        old = [part for part in module.modules() if isinstance(part, _ACTIVATIONS)]
        new |= {part: Sign(surrogate) for part in old}
    for name, part in list(module.named_modules(remove_duplicate=False)):  # shared ones stay shared
        if part in new:
            module = _replace(module, name, new[part])
    return Model(cut(module), input_shape)


def _weight_layers(module: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    for name, part in module.named_modules():
        if type(part) in (nn.Linear, nn.Conv2d):
            assert isinstance(part, nn.Linear | nn.Conv2d)
            yield name, part


def _is_chosen(policy: str | Policy, name: str, names: list[str], layer: nn.Module) -> bool:
    if callable(policy):
        return policy(name, layer)
    if policy == "inner":
        return name not in (names[0], names[-1])
    if policy == "all":
        return True
    raise ValueError(f"policy {policy!r}: choose 'inner', 'all' or a function (name, layer)")


def _binary_layer(layer: nn.Linear | nn.Conv2d, scale: Scale) -> nn.Module:
    binary: BinaryLinear | BinaryConv2d
    # The constructor's own random signs are replaced at once; they leave the global generator be.
    throw_away = torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Linear):
        binary = BinaryLinear(
            layer.in_features, layer.out_features, layer.bias is not None, scale, throw_away
        )
    else:
        if layer.padding_mode != "zeros":
            raise ValueError(f"padding_mode {layer.padding_mode!r} of {layer} is not supported")
        kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
        padding = layer.padding
        binary = BinaryConv2d(
            layer.in_channels, layer.out_channels, (kernel[0], kernel[1]), (stride[0], stride[1]),
            padding if isinstance(padding, str) else (padding[0], padding[1]),
            (dilation[0], dilation[1]), layer.groups, layer.bias is not None, scale, throw_away,
        )  # fmt: skip
    with torch.no_grad():
        binary.to(layer.weight.device, layer.weight.dtype)
        binary.weight.copy_(sign(layer.weight))
        if layer.bias is not None and binary.bias is not None:
            binary.bias.copy_(layer.bias)
    return binary


def _replace(module: nn.Module, name: str, new: nn.Module) -> nn.Module:
    if not name:
        return new
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, new)
    return module
