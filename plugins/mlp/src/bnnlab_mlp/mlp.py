"""The multi-layer perceptron of the binary-network literature.

Hubara, Courbariaux, Soudry, El-Yaniv and Bengio, "Binarized Neural Networks", NeurIPS 2016.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.markers import AtLeast, Positive, Search
from bnnlab.nn.layers import BinaryLinear, Linear, Scale, Sign, Surrogate
from bnnlab.nn.normalization import Norm, Statistics, make_norm
from bnnlab_mlp.activations import Gate, ReverseBinaryGate

Activation = Literal["sign", "relu", "hardtanh", "gate", "reverse-binary-gate"]


class MLP(Model):
    """A chain of layers. A hidden layer is weights, normalisation and activation.

    The output layer is weights alone, and a normalisation with `output_norm`. Each layer is a
    segment, so the segments' outputs are `(B, hidden[0])`, ..., `(B, hidden[-1])`, `(B, classes)`.
    With `scale="fan-in"` the initial logits have about unit variance.

    Args:
        input_shape: Shape of one input, without the batch. Inputs are flattened.
        classes: Number of logits.
        generator: Draws the initial weights.
        hidden: Units of each hidden layer, from input to output.
        weights: Weights of all layers. binary: -1 or +1.
        real_output: Whether the weights of the output layer are real in a binary network.
        activation: Activation of the hidden layers. gate: +1 where the size of the input is below
            `width`, else -1. reverse-binary-gate: 0 up to this size, 1 above it.
        surrogate: Surrogate gradient of the sign activation.
        norm: Normalisation before each hidden activation.
        statistics: Statistics of batch normalisation in evaluation. running: exponential averages
            of training. per-task: such averages for each task. recalibrated: measured on training
            images before each evaluation.
        affine: Whether the normalisation learns a gain and a shift.
        scale: Factor on the output of a binary layer. none: 1. fan-in: 1/sqrt(inputs). learned:
            one real factor per unit.
        bias: Whether layers have real biases. They start at 0.
        width: Threshold of the activations gate and reverse-binary-gate.
        output_norm: Whether the logits are normalised, too, by the normalisation of `norm`.

    Raises:
        UsageError: If `output_norm` is set without a normalisation.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        generator: torch.Generator,
        hidden: Sequence[Annotated[int, AtLeast(1)]] = (512, 512),
        weights: Literal["binary", "real"] = "binary",
        real_output: bool = False,
        activation: Activation = "sign",
        surrogate: Surrogate = "saturating",
        norm: Norm = "layer",
        statistics: Statistics = "running",
        affine: bool = False,
        scale: Scale = "fan-in",
        bias: bool = False,
        width: Annotated[Positive, Search(0.8, 1.4)] = 1.0,
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
