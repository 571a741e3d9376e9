"""Models that are chains of layers: the options that they share, said once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.markers import AtLeast, AtMost, Below, Positive, Search
from bnnlab.nn.activations import Activation, Surrogate, make_activation
from bnnlab.nn.dropout import Dropout
from bnnlab.nn.initialisation import Init, initialise
from bnnlab.nn.layers import BinaryConv2d, BinaryLinear, Linear, Scale, weight_of
from bnnlab.nn.normalization import Norm, Statistics, make_norm

Rate = Annotated[float, AtLeast(0), Below(1)]


class Chain(Model):
    """A chain of hidden layers, each a segment, and an output layer.

    A hidden layer is weights, pooling if there is any, normalisation, activation and dropout. The
    output layer is weights alone; normalisation with `output_norm` and an activation follow.

    Args:
        build: Makes the segments with a `Layers`: the last one is the output layer's weights alone.
        input_shape: Shape of one input, without the batch.
        classes: Number of logits.
        generator: Draws the initial weights, and the seeds of dropout.
        weights: Weights of all layers. binary: -1 or +1.
        real_output: Whether the weights of the output layer are real in a binary network.
        activation: Activation of the hidden layers. gate: +1 where the size of the input is below
            `width`, else -1. reverse-binary-gate: 0 up to this size, 1 above it. ternary: 0 up to
            this size, the sign above it. heaviside: 1 above 0, else 0.
        surrogate: Surrogate gradient of sign, heaviside and ternary.
        surrogate_clip: Size of the input above which the surrogate gradient saturating is 0.
        norm: Normalisation before each hidden activation.
        groups: Groups of units, or channels, of norm=group.
        statistics: Statistics of batch normalisation in evaluation. running: exponential averages
            of training. per-task: such averages for each task. recalibrated: measured on training
            images before each evaluation.
        affine: Whether the normalisation learns a gain and a shift.
        norm_momentum: Weight of the newest batch in the averages of batch normalisation.
        norm_eps: Added to the variance in the normalisation.
        scale: Factor on the output of a binary layer. none: 1. fan-in: 1/sqrt(inputs). learned:
            one real factor per unit. latent: the mean size of its latent weights (XNOR-Net).
        bias: Whether layers have real biases. They start at 0.
        width: Threshold of the activations gate, reverse-binary-gate and ternary.
        input_dropout: Share of the inputs that are 0 in training.
        dropout: Share of the outputs of each hidden linear layer that are 0 in training.
        output_norm: Whether the logits are normalised, too, as `norm` says.
        output_activation: Activation of the outputs.
        init: Initial weights: real ones, and latent weights of binary ones. default: real ones as
            he-normal; drawn signs, whose latent weights the optimizer draws. uniform: within
            +-init_scale; uniform-fan-in: within +-init_scale/sqrt(inputs).
        init_scale: Factor on the standard deviation, or bound, of `init`.

    Raises:
        UsageError: If options do not fit: `output_norm` without a normalisation, or those of a
            part.
    """

    def __init__(
        self,
        build: "Callable[[Layers], list[nn.Sequential]]",
        *,
        input_shape: Sequence[int],
        classes: int,
        generator: torch.Generator,
        weights: Literal["binary", "real"] = "binary",
        real_output: bool = False,
        activation: Activation = "sign",
        surrogate: Surrogate = "saturating",
        surrogate_clip: Positive = 1.0,
        norm: Norm = "layer",
        groups: Annotated[int, AtLeast(1)] = 32,
        statistics: Statistics = "running",
        affine: bool = False,
        norm_momentum: Annotated[Positive, AtMost(1)] = 0.1,
        norm_eps: Positive = 1e-5,
        scale: Scale = "fan-in",
        bias: bool = False,
        width: Annotated[Positive, Search(0.8, 1.4)] = 1.0,
        input_dropout: Rate = 0.0,
        dropout: Rate = 0.0,
        output_norm: bool = False,
        output_activation: Literal["none", "tanh"] = "none",
        init: Init = "default",
        init_scale: Positive = 1.0,
    ) -> None:
        if output_norm and norm == "none":
            raise UsageError(
                "model.output_norm normalises the logits as model.norm says, which is 'none': "
                "set model.norm to 'layer' or 'batch', or leave output_norm out"
            )
        normalise = partial(
            make_norm,
            norm,
            statistics=statistics,
            affine=affine,
            groups=groups,
            momentum=norm_momentum,
            eps=norm_eps,
        )
        activate = partial(make_activation, activation, surrogate, surrogate_clip, width)
        layers = Layers(
            generator, weights == "binary", real_output, scale, bias, dropout, normalise, activate
        )
        segments = build(layers)
        if input_dropout:
            segments[0].insert(0, Dropout(input_dropout, generator))
        final = [normalise(classes) if output_norm else None]
        final += [nn.Tanh() if output_activation == "tanh" else None]
        segments[-1].extend(part for part in final if part is not None)
        super().__init__(segments, tuple(input_shape))
        initialise(self, init, init_scale, generator)


_undrawn: Any = nn.utils.skip_init


@dataclass(frozen=True)
class Layers:
    """Makes the layers of a `Chain`, as its options say.

    Attributes:
        generator: Draws the weights, in the order of the calls.
        binary: Whether weights are binary.
        real_output: Whether those of the output layer are real in any case.
        scale: Scale of the binary layers.
        bias: Whether layers have biases.
        dropout: Rate after a hidden linear layer.
        normalise: Returns the normalisation of some features, or None; of maps with `maps=True`.
        activate: Returns the activation.
    """

    generator: torch.Generator
    binary: bool
    real_output: bool
    scale: Scale
    bias: bool
    dropout: float
    normalise: Callable[..., nn.Module | None]
    activate: Callable[[], nn.Module]

    def linear(self, inputs: int, outputs: int, real: bool = False) -> nn.Module:
        """Return a linear layer, real or as the options say."""
        if self.binary and not real:
            return BinaryLinear(inputs, outputs, self.bias, self.scale, self.generator)
        return self._real(_undrawn(Linear, inputs, outputs, self.bias))

    def convolution(self, inputs: int, outputs: int, **shape: Any) -> nn.Module:
        """Return a convolution; `shape` is its `kernel_size`, `stride` and `padding`."""
        if self.binary:
            more: Any = {"bias": self.bias, "scale": self.scale, "generator": self.generator}
            return BinaryConv2d(inputs, outputs, **shape, **more)
        return self._real(_undrawn(nn.Conv2d, inputs, outputs, **shape, bias=self.bias))

    def hidden(
        self, weights: nn.Module, *pooling: nn.Module, dropout: float, maps: bool = False
    ) -> nn.Sequential:
        """Return a hidden layer of these weights."""
        features = len(weight_of(weights))
        parts = [weights, *pooling, self.normalise(features, maps=maps), self.activate()]
        if dropout:
            parts.append(Dropout(dropout, self.generator))
        return nn.Sequential(*[part for part in parts if part is not None])

    def perceptron(self, sizes: Sequence[int], classes: int) -> list[nn.Sequential]:
        """Return linear layers from inputs, which are flattened, to outputs.

        Args:
            sizes: Number of inputs, and units of each hidden layer.
            classes: Number of outputs.
        """
        hidden = [self.hidden(self.linear(*pair), dropout=self.dropout) for pair in pairwise(sizes)]
        output = nn.Sequential(self.linear(sizes[-1], classes, self.real_output))
        segments = [*hidden, output]
        segments[0].insert(0, nn.Flatten())
        return segments

    @torch.no_grad()
    def _real(self, layer: Any) -> nn.Module:
        """Give a layer He-normal weights (He et al., 2015) and a bias of zero."""
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=self.generator)
        if self.bias:
            layer.bias.zero_()
        made: nn.Module = layer
        return made
