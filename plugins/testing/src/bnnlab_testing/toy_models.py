"""The networks of the toys. Each has the same weights whenever it is made."""

import math

import torch
from torch import nn

from bnnlab import seeds
from bnnlab.interfaces.model import Model
from bnnlab.nn.layers import BinaryConv2d, BinaryLinear, Sign
from bnnlab.nn.normalization import BatchNorm

INPUT_SHAPE = (1, 6, 6)
CLASSES = 3
SIZES = ((6, 16), (16, CLASSES))
"""Inputs and outputs of the layers of `make_positions_model`."""
TOKENS, LENGTH = 11, 6
"""How many token ids there are, and how many an input has, for `make_tokens_model`."""
NUMBERS, OUTPUTS = 4, 2
"""Numbers of an input and of a target, for `make_regression_model`."""


def make_model(seed: int = 0) -> Model:
    """Return a convolution and two linear layers, binary, with signs between and real biases."""
    generator = seeds.generator(seed, "toy model")
    return Model(
        [
            nn.Sequential(BinaryConv2d(1, 4, 3, bias=True, generator=generator), Sign()),
            nn.Sequential(nn.Flatten(), BinaryLinear(64, 32, True, generator=generator), Sign()),
            nn.Sequential(BinaryLinear(32, CLASSES, True, generator=generator)),
        ],
        INPUT_SHAPE,
    )


def make_mlp() -> Model:
    """Return three linear layers, binary, with signs between and real biases."""
    generator = seeds.generator(0, "toy model")
    sizes = ((math.prod(INPUT_SHAPE), 32), (32, 16), (16, CLASSES))
    first, hidden, last = (BinaryLinear(*each, True, generator=generator) for each in sizes)
    return Model(
        [nn.Sequential(nn.Flatten(), first, Sign()), nn.Sequential(hidden, Sign()), last],
        INPUT_SHAPE,
    )


def make_smooth_model() -> Model:
    """Return two binary linear layers with biases and learned scales, and tanh between."""
    generator = seeds.generator(0, "toy model")
    sizes = ((math.prod(INPUT_SHAPE), 16), (16, CLASSES))
    first, last = (BinaryLinear(*each, True, "learned", generator) for each in sizes)
    return Model([nn.Sequential(nn.Flatten(), first, nn.Tanh()), last], INPUT_SHAPE)


def make_twins_model() -> Model:
    """Return four binary linear layers with biases and learned scales; two have one shape."""
    generator = seeds.generator(0, "toy model")
    sizes = ((math.prod(INPUT_SHAPE), 16), (16, 16), (16, 16), (16, CLASSES))
    layers = [BinaryLinear(*each, True, "learned", generator) for each in sizes]
    parts = [nn.Sequential(each, Sign()) for each in layers[:-1]]
    return Model([nn.Flatten(), *parts, layers[-1]], INPUT_SHAPE)


def make_real_model(seed: int = 0) -> Model:
    """Return a convolution and a linear layer with real weights and biases."""
    generator = seeds.generator(seed, "toy model")
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation is replaced below
        convolution, linear = nn.Conv2d(1, 4, 3), nn.Linear(64, CLASSES)
    model = Model(
        [nn.Sequential(convolution, nn.ReLU(), nn.Flatten()), linear],
        INPUT_SHAPE,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.zero_()
    return model


def make_linear_model(
    input_shape: tuple[int, ...], classes: int, output: tuple[int, ...] = (), tokens: int = 0
) -> Model:
    """Return a binary linear layer for inputs of any shape.

    Args:
        input_shape: Of one input.
        classes: Number of logits K.
        output: Shape of the outputs for one input; by default `(K,)`.
        tokens: How many token ids there are, if inputs are such; each stands for a number.
    """
    generator, output = seeds.generator(0, "toy model"), output or (classes,)
    layer = BinaryLinear(math.prod(input_shape), math.prod(output), generator=generator)
    parts = [nn.Flatten(), layer, *[nn.Unflatten(1, output)] * (len(output) > 1)]
    if tokens:
        table = torch.linspace(-1, 1, tokens)[:, None]
        parts.insert(0, nn.Embedding(tokens, 1, _weight=table, _freeze=True))
    return Model([nn.Sequential(*parts)], input_shape, tokens or None)


def make_tokens_model() -> Model:
    """Return a real table of token ids and two binary linear layers, with real biases."""
    generator = seeds.generator(0, "toy model")
    rows = torch.randn(TOKENS, 8, generator=generator)
    first = BinaryLinear(8 * LENGTH, 16, True, generator=generator)
    last = BinaryLinear(16, CLASSES, True, generator=generator)
    table = nn.Embedding(TOKENS, 8, _weight=rows)
    return Model([nn.Sequential(table, nn.Flatten(), first, Sign()), last], (LENGTH,), TOKENS)


def make_regression_model() -> Model:
    """Return a binary and a real linear layer, with real biases, that predict real numbers."""
    generator = seeds.generator(0, "toy model")
    first = BinaryLinear(NUMBERS, 32, True, generator=generator)
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation is replaced below
        last = nn.Linear(32, OUTPUTS)
    with torch.no_grad():
        last.weight.normal_(0, 32**-0.5, generator=generator)
        last.bias.zero_()
    return Model([nn.Sequential(first, Sign()), last], (NUMBERS,))


def make_positions_model() -> Model:
    """Return two binary linear layers for each of the six rows of an image: logits (B, 6, 3)."""
    generator = seeds.generator(0, "toy model")
    first, last = (BinaryLinear(*sizes, True, generator=generator) for sizes in SIZES)
    return Model([nn.Sequential(nn.Flatten(1, 2), first, Sign()), last], INPUT_SHAPE)


def make_normalised_model() -> Model:
    """Return two binary linear layers with a batch normalisation by running averages between."""
    generator = seeds.generator(0, "toy model")
    first = BinaryLinear(36, 16, generator=generator)
    last = BinaryLinear(16, CLASSES, True, generator=generator)
    return Model(
        [nn.Sequential(nn.Flatten(), first, BatchNorm(16, "running"), Sign()), last], INPUT_SHAPE
    )
