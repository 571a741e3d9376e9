"""Fully connected and convolutional networks for equilibrium propagation.

Source: Laydevant, Ernoult, Querlioz and Grollier, "Training Dynamical Binary Neural Networks with
Equilibrium Propagation", CVPR Workshops 2021.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.markers import Above, AtLeast, AtMost
from bnnlab.nn.layers import BinaryConv2d, BinaryLinear
from bnnlab.registry.options import per_layer
from bnnlab_eqprop.units import BinaryUnit, HardSigmoid, MeanOfCopies

Weights = Literal["binary", "real"]
Activation = Literal["hard-sigmoid", "binary"]
Output = Literal["units", "linear"]
Scale = Literal["fixed", "learned"]
Bias = Literal["uniform", "zero"]


@dataclass(frozen=True)
class Builder:
    """Makes the layers of a network, from input to output; see `EqPropModel` for the fields."""

    generator: torch.Generator
    weights: Weights
    activation: Activation
    gamma: float
    copies: int
    output: Output
    scale: Scale
    bias: Bias

    def unit(self) -> nn.Module:
        """Return the units of a layer."""
        return HardSigmoid() if self.activation == "hard-sigmoid" else BinaryUnit(self.gamma)

    def linear(self, inputs: int, outputs: int, alphas: int) -> nn.Module:
        """Return a linear layer with this number of factors alpha, if they are learned."""
        if self.weights == "binary":
            layer = BinaryLinear(inputs, outputs, True, "none", self.generator)
            return self._initialised(layer, alphas)
        return self._initialised(_empty(nn.Linear, inputs, outputs), alphas)

    def convolution(
        self, inputs: int, outputs: int, kernel: int, padding: int, alphas: int
    ) -> nn.Module:
        """Return a convolution with this number of factors alpha, if they are learned."""
        if self.weights == "binary":
            layer = BinaryConv2d(
                inputs, outputs, kernel, 1, padding, 1, 1, True, "none", self.generator
            )
            return self._initialised(layer, alphas)
        return self._initialised(_empty(nn.Conv2d, inputs, outputs, kernel, 1, padding), alphas)

    @torch.no_grad()
    def _initialised(self, layer: nn.Linear | nn.Conv2d, alphas: int) -> nn.Module:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        if not isinstance(layer, BinaryLinear | BinaryConv2d):
            layer.weight.uniform_(-bound, bound, generator=self.generator)
        elif self.scale == "learned":
            layer.scale = nn.Parameter(torch.full((alphas,), bound / 2))
        else:
            layer.fixed_scale = bound / 2
        bias: Tensor = layer.bias  # type: ignore[assignment]
        bias.zero_()
        if self.bias == "uniform":
            bias.uniform_(-bound, bound, generator=self.generator)
        return layer

    def classifier(
        self, sizes: Sequence[int], classes: int, per_unit: bool = False
    ) -> list[nn.Module]:
        """Return linear layers, from the sizes of their inputs, and the mean over copies."""
        segments = [
            nn.Sequential(self.linear(one, two, two if per_unit else 1), self.unit())
            for one, two in pairwise([*sizes, self.copies * classes])
        ]
        if self.output == "linear":
            segments[-1].pop(-1)
        segments[0].insert(0, nn.Flatten())
        if self.copies > 1:
            segments[-1].append(MeanOfCopies(self.copies))
        return list(segments)


def _empty(kind: Any, *sizes: int) -> Any:
    """Return a layer without its own initialisation, which uses the global generator."""
    return nn.utils.skip_init(kind, *sizes)  # type: ignore[no-untyped-call]


class EqPropModel(Model):
    """A chain of linear and convolutional layers with biases, each followed by its units.

    The logits are the states of the output units, in [0, 1], unless the output is linear.

    Args:
        build: Makes the segments.
        input_shape: Shape of one input, without the batch.
        generator: Draws the initial weights.
        weights: Weights of all layers. binary: -1 or +1, times a factor alpha. real: initially
            uniform within ±1/sqrt(inputs).
        activation: Units of the layers. hard-sigmoid: real states in [0, 1]. binary: a slow
            membrane with a binary output.
        gamma: Share of the drive in the new membrane, with activation=binary.
        copies: Output units per class. The logit of a class is their mean.
        output: The output layer. units: it has units like the other layers. linear: it has none,
            for loss=cross-entropy.
        scale: The factor alpha of binary weights. fixed: 1/(2 sqrt(inputs)), the mean size of the
            initial real weights. learned: this is its initial value.
        bias: Initial biases. uniform: within ±1/sqrt(inputs). zero: 0.
    """

    def __init__(
        self,
        build: Callable[[Builder], list[nn.Module]],
        *,
        input_shape: Sequence[int],
        generator: torch.Generator,
        weights: Weights = "binary",
        activation: Activation = "hard-sigmoid",
        gamma: Annotated[float, Above(0), AtMost(1)] = 0.5,
        copies: Annotated[int, AtLeast(1)] = 1,
        output: Output = "units",
        scale: Scale = "fixed",
        bias: Bias = "uniform",
    ) -> None:
        layers = Builder(generator, weights, activation, gamma, copies, output, scale, bias)
        super().__init__(build(layers), tuple(input_shape))


class EqPropMLP(EqPropModel):
    """Linear layers with biases and units, the output layer included.

    Args:
        input_shape: Shape of one input, without the batch. Inputs are flattened.
        classes: Number of logits.
        hidden: Units of each hidden layer, from input to output.
        scale_per: One learned alpha per layer, or one per unit.
        options: Options of `EqPropModel`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        hidden: Sequence[Annotated[int, AtLeast(1)]] = (4096,),
        scale_per: Literal["layer", "unit"] = "layer",
        **options: Any,
    ) -> None:
        sizes = [math.prod(input_shape), *hidden]

        def build(layers: Builder) -> list[nn.Module]:
            return layers.classifier(sizes, classes, scale_per == "unit")

        super().__init__(build, input_shape=input_shape, **options)


class EqPropConv(EqPropModel):
    """Blocks of convolution, max pooling and units, then linear layers with units.

    Args:
        input_shape: `(C, H, W)` of an image.
        classes: Number of logits.
        channels: Channels of each block, from input to output.
        kernel: Side of the convolution kernels in pixels, for all blocks or one per block.
        padding: Zeros on each side of the image in pixels, for all blocks or one per block.
        pooling: Side and stride of max pooling in pixels, for all blocks or one per block; 1: no
            pooling.
        hidden: Units of each hidden linear layer.
        scale_per: One learned alpha per layer, or in convolutions one per output channel.
        options: Options of `EqPropModel`.

    Raises:
        UsageError: If inputs are no images, a list has another length than `channels`, or a block
            leaves no pixel.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        channels: Sequence[Annotated[int, AtLeast(1)]] = (32, 64),
        kernel: Annotated[int | Sequence[int], AtLeast(1)] = 5,
        padding: Annotated[int | Sequence[int], AtLeast(0)] = 2,
        pooling: Annotated[int | Sequence[int], AtLeast(1)] = 2,
        hidden: Sequence[Annotated[int, AtLeast(1)]] = (),
        scale_per: Literal["layer", "channel"] = "channel",
        **options: Any,
    ) -> None:
        if len(input_shape) != 3:
            raise UsageError(f"eqprop-conv takes images (C, H, W), and inputs are {input_shape}")
        count = len(channels)
        kernels = per_layer("model.kernel", kernel, count, "block")
        paddings = per_layer("model.padding", padding, count, "block")
        poolings = per_layer("model.pooling", pooling, count, "block")
        blocks = [*zip(channels, kernels, paddings, poolings, strict=True)]

        def build(layers: Builder) -> list[nn.Module]:
            segments, size = _convolutions(layers, input_shape, blocks, scale_per == "channel")
            return [*segments, *layers.classifier([size, *hidden], classes)]

        super().__init__(build, input_shape=input_shape, **options)


def _convolutions(
    layers: Builder,
    input_shape: Sequence[int],
    blocks: Sequence[tuple[int, int, int, int]],
    per_channel: bool,
) -> tuple[list[nn.Module], int]:
    """Return the blocks (channels, kernel, padding, pooling), and the size of their output."""
    inputs, height, width = input_shape
    segments: list[nn.Module] = []
    for number, (outputs, kernel, padding, pooling) in enumerate(blocks, 1):
        height, width = ((side + 2 * padding - kernel + 1) // pooling for side in (height, width))
        if min(height, width) < 1:
            raise UsageError(
                f"model: block {number} leaves nothing of images {tuple(input_shape)}: take a "
                f"smaller kernel ({kernel}) or pooling ({pooling}), or a larger padding ({padding})"
            )
        alphas = outputs if per_channel else 1
        block = nn.Sequential(layers.convolution(inputs, outputs, kernel, padding, alphas))
        if pooling > 1:
            block.append(nn.MaxPool2d(pooling))
        segments.append(block.append(layers.unit()))
        inputs = outputs
    return segments, inputs * height * width
