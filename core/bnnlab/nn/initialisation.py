"""Initial weights of a model's linear and convolutional layers, drawn by a named rule."""

import math
from typing import Literal

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.signs import sign
from bnnlab.nn.layers import WEIGHT_LAYERS, weight_of

Init = Literal[
    "default",
    "he-normal",
    "he-uniform",
    "xavier-normal",
    "xavier-uniform",
    "lecun-normal",
    "lecun-uniform",
    "normal",
    "uniform",
    "uniform-fan-in",
]


@torch.no_grad()
def initialise(model: Model, init: Init, scale: float, generator: torch.Generator) -> None:
    """Draw the weights of all linear and convolutional layers anew; `default` leaves them.

    A real layer gets what is drawn. A binary one gets the signs, and `model.initial_latents` what
    is drawn: the latent weights of methods that have them start there.

    The standard deviation is `scale` times

    - `he-*`: sqrt(2 / n) for n inputs (He et al., "Delving Deep into Rectifiers", ICCV 2015);
    - `xavier-*`: sqrt(2 / (n + m)) for m outputs (Glorot and Bengio, "Understanding the Difficulty
      of Training Deep Feedforward Neural Networks", AISTATS 2010);
    - `lecun-*`: 1 / sqrt(n) (LeCun et al., "Efficient BackProp", 1998);
    - `normal`: 1. `uniform` draws within +-scale, `uniform-fan-in` within +-scale / sqrt(n).

    In a convolution n and m are the channels of its weight, times the size of the kernel.

    Args:
        model: The model.
        init: The rule.
        scale: Factor on its standard deviation or bound, above 0.
        generator: Draws the weights.

    Raises:
        UsageError: If there is a `scale`, and nothing to draw.
    """
    if init == "default":
        if scale != 1:
            raise UsageError("model.init_scale scales what model.init draws: set model.init, too")
        return
    names: dict[Tensor, str] = {each: name for name, each in model.named_parameters()}
    binary = {*model.binary_parameters().values()}
    for layer in model.modules():
        if not isinstance(layer, WEIGHT_LAYERS):
            continue
        weight = weight_of(layer)
        drawn = scale * _draw(tuple(weight.shape), init, generator)
        if weight in binary:
            model.initial_latents[names[weight]] = drawn
        weight.copy_(sign(drawn) if weight in binary else drawn)


def _draw(shape: tuple[int, ...], init: Init, generator: torch.Generator) -> Tensor:
    """Return a weight (m, n, *kernel)."""
    kernel = math.prod(shape[2:])
    inputs, outputs = shape[1] * kernel, shape[0] * kernel
    deviation = {
        "he": math.sqrt(2 / inputs),
        "xavier": math.sqrt(2 / (inputs + outputs)),
        "lecun": math.sqrt(1 / inputs),
    }.get(init.partition("-")[0], 1.0)
    if init.endswith("normal"):
        return torch.randn(shape, generator=generator) * deviation
    bound = 1.0 if init == "uniform" else math.sqrt(3) * deviation
    if init == "uniform-fan-in":
        bound = 1 / math.sqrt(inputs)
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound
