"""A multi-layer perceptron as arrays and numbers, for whole steps in one loop."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from bnnlab.interfaces.model import Model
from bnnlab.nn.activations import Heaviside, Sign, Ternary
from bnnlab.nn.gates import Gate, ReverseBinaryGate
from bnnlab.nn.layers import BinaryLinear, Linear
from bnnlab_kernels.functions import f4

NONE, SIGN, HEAVISIDE, TERNARY, GATE, REVERSE_GATE, RELU, HARDTANH = range(8)
"""Activations."""
STEPS: dict[type, int] = {Sign: SIGN, Heaviside: HEAVISIDE, Ternary: TERNARY}
GATES: dict[type, int] = {Gate: GATE, ReverseBinaryGate: REVERSE_GATE}
PLAIN: dict[type, int] = {nn.ReLU: RELU, nn.Hardtanh: HARDTANH}
IDENTITY, SATURATING, POLYNOMIAL = range(3)
SURROGATES = {"identity": IDENTITY, "saturating": SATURATING, "polynomial": POLYNOMIAL}
"""Surrogate gradients of a step."""


@dataclass
class Layer:
    """Weights, normalisation and activation.

    Attributes:
        weight: `(outputs, inputs)`.
        scale: Factor on the sums.
        groups: Groups of outputs that are normalised, each to mean 0 and variance 1; 0: none.
        eps: Added to the variance.
        activation: One of those above.
        surrogate: Surrogate gradient of a step.
        width: Threshold of the activation, or of its surrogate gradient.
    """

    weight: Tensor
    scale: float = 1.0
    groups: int = 0
    eps: float = 0.0
    activation: int = NONE
    surrogate: int = IDENTITY
    threshold: float = 0.0
    clip: float = 1.0


def layers_of(model: Model) -> list[Layer] | str:
    """Return the layers of a model, or why they are not those of such a perceptron, in words."""
    if model.inference is not None:
        return "the model infers by its rule"
    if type(model).forward is not Model.forward or any(map(_is_watched, model.modules())):
        return "the model is more than its segments, one after another"
    layers: list[Layer] = []
    parts = [part for segment in model.segments for part in _parts(segment)]
    for number, part in enumerate(parts):
        if number == 0 and type(part) is nn.Flatten and (part.start_dim, part.end_dim) == (1, -1):
            continue
        if not _added(layers, part):
            return f"the model has {_said(part)}"
    learned = {layer.weight for layer in layers}
    if len(learned) < len(layers) or learned != set(model.parameters()):
        return "the model has other parameters than a weight for each layer"
    return layers


def _is_watched(module: nn.Module) -> bool:
    """Return whether a module has hooks, or parameters that are computed."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    return any(hooks) or bool(module._backward_pre_hooks) or hasattr(module, "parametrizations")


def _parts(module: nn.Module) -> Sequence[nn.Module]:
    if type(module) is nn.Sequential:
        return [part for each in module for part in _parts(each)]
    return [module]


def _said(part: nn.Module) -> str:
    text = str(part).splitlines()[0]
    return text if len(text) <= 60 else type(part).__name__


def _added(layers: list[Layer], part: Any) -> bool:
    """Add a part to the layers; return whether it is one that is known, at its place."""
    kind = type(part)
    if kind in (BinaryLinear, Linear, nn.Linear):
        if part.bias is not None or getattr(part, "scale", None) is not None:
            return False
        layers.append(Layer(part.weight, getattr(part, "fixed_scale", 1.0)))
        return True
    if not layers or layers[-1].activation != NONE:
        return False
    layer = layers[-1]
    if kind in (nn.LayerNorm, nn.GroupNorm):
        whole = kind is nn.GroupNorm or part.normalized_shape == (len(layer.weight),)
        groups = getattr(part, "num_groups", 1)
        is_known = not layer.groups and part.weight is None and whole
        if not is_known or groups == len(layer.weight):  # which torch refuses, too
            return False
        layer.groups, layer.eps = groups, part.eps
        return True
    if kind in STEPS and part.surrogate in SURROGATES:
        layer.activation, layer.surrogate = STEPS[kind], SURROGATES[part.surrogate]
        layer.threshold, layer.clip = part._width, part.clip
        return True
    if kind in GATES:
        layer.activation, layer.threshold = GATES[kind], part.width
        return True
    if kind in PLAIN and (kind is nn.ReLU or (part.min_val, part.max_val) == (-1, 1)):
        layer.activation = PLAIN[kind]
        return True
    return False


@dataclass
class Network:
    """Layers as the compiled loop takes them, with room for what a step computes.

    Attributes:
        kinds: int64 `(L, 3)`: groups, activation and surrogate gradient of each layer.
        numbers: float32 `(L, 4)`: scale, eps, threshold and clip.
        inputs: What each layer gets, and the outputs: L + 1 arrays.
        normalised: What each activation gets.
        spread: float32 `(L, most groups)`: 1 / standard deviation of each group.
        grads: Gradients at the sums of each layer.
    """

    layers: Sequence[Layer]
    kinds: Any = field(init=False)
    numbers: Any = field(init=False)
    inputs: tuple[Any, ...] = field(init=False)
    normalised: tuple[Any, ...] = field(init=False)
    grads: tuple[Any, ...] = field(init=False)
    spread: Any = field(init=False)

    def __post_init__(self) -> None:
        layers = self.layers
        self.kinds = np.array([(its.groups, its.activation, its.surrogate) for its in layers])
        self.numbers = np.array(
            [(its.scale, its.eps, its.threshold, its.clip) for its in layers], f4
        )
        sizes = [layers[0].weight.shape[1], *(len(its.weight) for its in layers)]
        self.inputs = tuple(np.empty(size, f4) for size in sizes)
        self.normalised = tuple(np.empty(size, f4) for size in sizes[1:])
        self.grads = tuple(np.empty(size, f4) for size in sizes[1:])
        self.spread = np.empty((len(layers), max(1, *(its.groups for its in layers))), f4)
