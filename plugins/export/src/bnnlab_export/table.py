"""Which function writes which layer: a further layer is one function and one line here.

Each is called with the builder, an example of the result, then what the model calls: of a module,
the module and its inputs; of a function, its arguments.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.nn.activations import Heaviside, Sign, Ternary
from bnnlab.nn.dropout import Dropout
from bnnlab.nn.gates import Gate, ReverseBinaryGate
from bnnlab.nn.layers import BinaryConv2d, BinaryLinear, Linear
from bnnlab.nn.normalization import BatchNorm
from bnnlab_export import elementwise, shapes, weights
from bnnlab_export.builder import Builder
from bnnlab_export.values import Value

Writes = Callable[..., Value]

LAYERS: dict[type[nn.Module], Writes] = {
    nn.Linear: weights.linear,
    Linear: weights.linear,
    BinaryLinear: weights.linear,
    nn.Conv2d: weights.conv,
    BinaryConv2d: weights.conv,
    BatchNorm: elementwise.batch_norm,
    nn.BatchNorm1d: elementwise.batch_norm,
    nn.BatchNorm2d: elementwise.batch_norm,
    nn.LayerNorm: elementwise.layer_norm,
    nn.GroupNorm: elementwise.group_norm,
    Sign: elementwise.sign,
    Heaviside: elementwise.curved("heaviside"),
    Ternary: elementwise.curved("ternary"),
    Gate: elementwise.curved("gate"),
    ReverseBinaryGate: elementwise.curved("reverse-binary-gate"),
    nn.ReLU: elementwise.rising("relu"),
    nn.ReLU6: elementwise.rising("relu6"),
    nn.Hardtanh: elementwise.rising("hardtanh"),
    nn.Tanh: elementwise.rising("tanh"),
    nn.Softplus: elementwise.rising("softplus"),
    nn.LeakyReLU: elementwise.rising("leaky-relu"),
    nn.PReLU: lambda b, like, layer, x: elementwise.prelu(b, like, x, layer.weight),
    nn.Sigmoid: elementwise.rising("sigmoid"),
    nn.Hardsigmoid: elementwise.rising("hardsigmoid"),
    nn.SiLU: elementwise.curved("silu"),
    nn.GELU: elementwise.curved("gelu"),
    nn.Hardswish: elementwise.curved("hardswish"),
    nn.MaxPool2d: shapes.max_pool,
    nn.AvgPool2d: shapes.avg_pool,
    nn.AdaptiveAvgPool2d: shapes.adaptive_avg_pool,
    nn.Flatten: shapes.flatten,
    **dict.fromkeys((nn.Identity, Dropout, nn.Dropout, nn.Dropout2d), shapes.nothing),
}


def _of(make: Callable[..., nn.Module], *names: str) -> Writes:
    """Return what writes a function as the module that does the same.

    Args:
        make: The module's class.
        names: Of the function's arguments after the first, in order, as the module has them.
    """

    def write(b: Builder, like: Tensor, x: Value, *args: Any, **more: Any) -> Value:
        more |= dict(zip(names, args, strict=False))
        more.pop("inplace", None), more.pop("return_indices", None)
        layer = make(**more).eval()
        return LAYERS[type(layer)](b, like, layer, x)

    return write


_POOL = ("kernel_size", "stride", "padding")
_FLATTEN = _of(nn.Flatten, "start_dim", "end_dim")


def _reshape(b: Builder, like: Tensor, x: Value, *_: Any, **__: Any) -> Value:
    return shapes.flatten(b, like, None, x)


def _dropout(b: Builder, like: Tensor, x: Value, *_: Any, **__: Any) -> Value:
    return shapes.nothing(b, like, nn.Identity(), x)


FUNCTIONS: dict[Any, Writes] = {
    **dict.fromkeys((F.relu, torch.relu, "relu", "relu_"), _of(nn.ReLU)),
    F.relu6: _of(nn.ReLU6),
    F.hardtanh: _of(nn.Hardtanh, "min_val", "max_val"),
    **dict.fromkeys((F.tanh, torch.tanh, "tanh"), _of(nn.Tanh)),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, "sigmoid"), _of(nn.Sigmoid)),
    F.hardsigmoid: _of(nn.Hardsigmoid),
    F.silu: _of(nn.SiLU),
    F.gelu: _of(nn.GELU),
    F.hardswish: _of(nn.Hardswish),
    F.leaky_relu: _of(nn.LeakyReLU, "negative_slope"),
    **dict.fromkeys((F.prelu, torch.prelu), elementwise.prelu),
    F.softplus: _of(nn.Softplus, "beta", "threshold"),
    F.max_pool2d: _of(nn.MaxPool2d, *_POOL, "dilation", "ceil_mode"),
    F.avg_pool2d: _of(nn.AvgPool2d, *_POOL, "ceil_mode", "count_include_pad"),
    F.adaptive_avg_pool2d: _of(nn.AdaptiveAvgPool2d, "output_size"),
    F.dropout: _dropout,
    **dict.fromkeys((torch.flatten, "flatten"), _FLATTEN),
    **dict.fromkeys((torch.reshape, "reshape", "view"), _reshape),
    **dict.fromkeys((torch.mean, "mean"), shapes.mean),
    **dict.fromkeys((torch.cat, torch.concat), shapes.cat),
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), elementwise.add),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, "sub"), elementwise.subtract),
    **dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul"), elementwise.multiply),
    **dict.fromkeys((operator.truediv, torch.div, "div"), elementwise.divide),
}


def is_changed(module: nn.Module) -> bool:
    """Return whether a module may do something else than its class says."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in vars(module)


def layer_of(module: nn.Module) -> Writes | None:
    """Return what writes a module; None if it is of no known kind, or does more than its kind."""
    if is_changed(module):
        return None
    for kind in type(module).__mro__:
        if kind in LAYERS:
            return LAYERS[kind] if type(module).forward is kind.forward else None
    return None
