"""The multi-layer perceptron of the binary-network literature.

Hubara, Courbariaux, Soudry, El-Yaniv and Bengio, "Binarized Neural Networks", NeurIPS 2016.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.nn.layers import BinaryLinear, Linear, Scale, Sign, Surrogate
from bnnlab.nn.normalization import Norm, Statistics, make_norm
from bnnlab_mlp.activations import Gate, ReverseBinaryGate

Activation = Literal["sign", "relu", "hardtanh", "gate", "reverse-binary-gate"]


class MLP(Model):
    """Layers of weight, normalisation and activation; the last has no activation.

    Each hidden layer is a segment, and the output layer is the last one: their outputs are
    `(B, hidden[0])`, ..., `(B, hidden[-1])`, `(B, classes)`. The logits are normalised only
    with `output_norm`; with scale `fan-in` they have about unit variance at the start.

    Args:
        input_shape: Shape of one input; it is flattened.
        classes: Number of logits.
        generator: Draws the initial weights.
        hidden: Units of each hidden layer.
        weights: `binary` (-1 or +1) or `real` in every layer.
        real_output: Whether the output layer's weights are real also where the others are binary.
        activation: Of the hidden layers; see `bnnlab.Sign`, `Gate` and `ReverseBinaryGate`.
        surrogate: Surrogate gradient of `sign`.
        norm: Before each hidden activation.
        statistics: With `norm="batch"`, what is used at test.
        affine: Whether the normalisation learns a gain and a shift.
        scale: Of the binary layers.
        bias: Whether layers have real biases, starting at 0.
        width: Of `gate` and `reverse-binary-gate`, above 0.
        output_norm: Whether the logits are normalised too, as the hidden layers are.

    Raises:
        UsageError: If `output_norm` is set without a normalisation.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        generator: torch.Generator,
        hidden: Sequence[int] = (512, 512),
        weights: Literal["binary", "real"] = "binary",
        real_output: bool = False,
        activation: Activation = "sign",
        surrogate: Surrogate = "saturating",
        norm: Norm = "layer",
        statistics: Statistics = "running",
        affine: bool = False,
        scale: Scale = "fan-in",
        bias: bool = False,
        width: float = 1.0,
        output_norm: bool = False,
    ) -> None:
        if output_norm and norm == "none":
            raise UsageError(
                "model.output_norm normalises the logits as model.norm says, which is 'none': "
                "set model.norm to 'layer' or 'batch', or leave output_norm out"
            )

        def weigh(inputs: int, outputs: int, real: bool = False) -> nn.Module:
            if weights == "binary" and not real:
                return BinaryLinear(inputs, outputs, bias, scale, generator)
            return _real_linear(inputs, outputs, bias, generator)

        def activate() -> nn.Module:
            if activation == "sign":
                return Sign(surrogate)
            if activation == "gate":
                return Gate(width)
            if activation == "reverse-binary-gate":
                return ReverseBinaryGate(width)
            return nn.ReLU() if activation == "relu" else nn.Hardtanh()

        segments = []
        for inputs, outputs in pairwise([math.prod(input_shape), *hidden]):
            normalise = make_norm(norm, outputs, statistics, affine)
            parts = [weigh(inputs, outputs), normalise, activate()]
            segments.append(nn.Sequential(*[part for part in parts if part is not None]))
        last = hidden[-1] if hidden else math.prod(input_shape)
        segments.append(nn.Sequential(weigh(last, classes, real_output)))
        final = make_norm(norm, classes, statistics, affine) if output_norm else None
        if final is not None:
            segments[-1].append(final)
        segments[0].insert(0, nn.Flatten())
        super().__init__(segments, tuple(input_shape))


def _real_linear(inputs: int, outputs: int, bias: bool, generator: torch.Generator) -> Linear:
    """Return a linear layer with He-normal weights (He et al., 2015) and zero bias."""
    layer: Linear = nn.utils.skip_init(Linear, inputs, outputs, bias)
    with torch.no_grad():
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
        if bias:
            layer.bias.zero_()
    return layer
