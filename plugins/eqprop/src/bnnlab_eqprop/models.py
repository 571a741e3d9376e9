"""Fully connected and convolutional networks whose layers can be relaxed.

Source: Laydevant, Ernoult, Querlioz and Grollier, "Training Dynamical Binary Neural Networks with
Equilibrium Propagation", CVPR Workshops 2021.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.nn.layers import BinaryConv2d, BinaryLinear
from bnnlab.registry.options import per_layer
from bnnlab_eqprop.units import BinaryUnit, HardSigmoid, MeanOfCopies


class Builder:
    """Makes the layers of both networks, from input to output.

    Args:
        generator: Draws the initial weights.
        weights: `binary`: w, -1 or +1, times alpha; or `real`, uniform in ±1/√fan-in.
        activation: `hard-sigmoid`, or `binary` for `BinaryUnit`.
        gamma: Of `BinaryUnit`.
        copies: Output units per class, which are averaged.
        output: Whether the output layer has `units` as others have, or none: `linear`.
        scale: Whether alpha is `fixed` or `learned`; it starts at 1 / (2 √fan-in), the mean size of
            the real weights, or at that size for good.
        bias: Initial biases, `uniform` in ±1/√fan-in or `zero`.
    """

    def __init__(
        self,
        generator: torch.Generator,
        weights: Literal["binary", "real"] = "binary",
        activation: Literal["hard-sigmoid", "binary"] = "hard-sigmoid",
        gamma: float = 0.5,
        copies: int = 1,
        output: Literal["units", "linear"] = "units",
        scale: Literal["fixed", "learned"] = "fixed",
        bias: Literal["uniform", "zero"] = "uniform",
    ) -> None:
        self.generator, self.weights, self.activation = generator, weights, activation
        self.gamma, self.copies, self.output = gamma, copies, output
        self.scale, self.bias = scale, bias

    def unit(self) -> nn.Module:
        """Return the units behind a layer."""
        return HardSigmoid() if self.activation == "hard-sigmoid" else BinaryUnit(self.gamma)

    def linear(self, inputs: int, outputs: int, alphas: int) -> nn.Module:
        """Return a linear layer with so many factors alpha, if they are learned."""
        if self.weights == "binary":
            layer = BinaryLinear(inputs, outputs, True, "none", self.generator)
            return self._initialised(layer, alphas)
        return self._initialised(_empty(nn.Linear, inputs, outputs), alphas)

    def convolution(
        self, inputs: int, outputs: int, kernel: int, padding: int, alphas: int
    ) -> nn.Module:
        """Return a convolution with so many factors alpha, if they are learned."""
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
        """Return linear layers, from the size of their input on, and the mean over copies."""
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
    """Return a layer whose own initialisation, from the global generator, is left out."""
    return nn.utils.skip_init(kind, *sizes)  # type: ignore[no-untyped-call]


class EqPropMLP(Model):
    """Linear layers with biases, each followed by its units, the last one too.

    Args:
        input_shape: Shape of one input; it is flattened.
        classes: Number of logits, which are states in [0, 1] unless the output is linear.
        generator: Draws the initial weights.
        hidden: Units of each hidden layer.
        weights: See `Builder`; so for the next seven.
        activation: See above.
        gamma: See above.
        copies: See above.
        output: See above.
        scale: See above.
        scale_per: Whether a learned alpha belongs to a `layer` or to each `unit`.
        bias: See above.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        generator: torch.Generator,
        hidden: Sequence[int] = (4096,),
        weights: Literal["binary", "real"] = "binary",
        activation: Literal["hard-sigmoid", "binary"] = "hard-sigmoid",
        gamma: float = 0.5,
        copies: int = 1,
        output: Literal["units", "linear"] = "units",
        scale: Literal["fixed", "learned"] = "fixed",
        scale_per: Literal["layer", "unit"] = "layer",
        bias: Literal["uniform", "zero"] = "uniform",
    ) -> None:
        build = Builder(generator, weights, activation, gamma, copies, output, scale, bias)
        sizes = [math.prod(input_shape), *hidden]
        super().__init__(build.classifier(sizes, classes, scale_per == "unit"), tuple(input_shape))


class EqPropConv(Model):
    """Blocks of convolution, max pooling and units, then linear layers with units.

    Lists run from input to output, with one value for all blocks or one for each.

    Args:
        input_shape: `(C, H, W)`.
        classes: Number of logits, which are states in [0, 1] unless the output is linear.
        generator: Draws the initial weights.
        channels: Of each block.
        kernel: Side of the convolutions, in pixels.
        padding: Zeros on each side of the convolutions' inputs, in pixels.
        pooling: Side and stride of the pooling, in pixels; 1 for none.
        hidden: Units of the hidden linear layers.
        weights: See `Builder`; so for the next seven.
        activation: See above.
        gamma: See above.
        copies: See above.
        output: See above.
        scale: See above.
        scale_per: Whether a learned alpha belongs to a `layer`, or in convolutions to a `channel`.
        bias: See above.

    Raises:
        UsageError: If a list has another length, or a block leaves nothing of the image.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        classes: int,
        generator: torch.Generator,
        channels: Sequence[int] = (32, 64),
        kernel: int | Sequence[int] = 5,
        padding: int | Sequence[int] = 2,
        pooling: int | Sequence[int] = 2,
        hidden: Sequence[int] = (),
        weights: Literal["binary", "real"] = "binary",
        activation: Literal["hard-sigmoid", "binary"] = "hard-sigmoid",
        gamma: float = 0.5,
        copies: int = 1,
        output: Literal["units", "linear"] = "units",
        scale: Literal["fixed", "learned"] = "fixed",
        scale_per: Literal["layer", "channel"] = "channel",
        bias: Literal["uniform", "zero"] = "uniform",
    ) -> None:
        if len(input_shape) != 3:
            raise UsageError(f"eqprop-conv takes images (C, H, W), and inputs are {input_shape}")
        build = Builder(generator, weights, activation, gamma, copies, output, scale, bias)
        inputs, height, width = input_shape
        count = len(channels)
        geometry = zip(
            per_layer("model.kernel", kernel, count, "block"),
            per_layer("model.padding", padding, count, "block"),
            per_layer("model.pooling", pooling, count, "block"),
            strict=True,
        )
        segments: list[nn.Module] = []
        for number, (outputs, (k, p, pool)) in enumerate(zip(channels, geometry, strict=True), 1):
            height, width = ((side + 2 * p - k + 1) // pool for side in (height, width))
            if min(height, width) < 1:
                raise UsageError(
                    f"model: block {number} leaves nothing of images {tuple(input_shape)}: take a "
                    f"smaller kernel ({k}) or pooling ({pool}), or a larger padding ({p})"
                )
            alphas = 1 if scale_per == "layer" else outputs
            block = nn.Sequential(build.convolution(inputs, outputs, k, p, alphas))
            if pool > 1:
                block.append(nn.MaxPool2d(pool))
            segments.append(block.append(build.unit()))
            inputs = outputs
        sizes = [inputs * height * width, *hidden]
        super().__init__([*segments, *build.classifier(sizes, classes)], tuple(input_shape))
