"""MLP-Mixer: multi-layer perceptrons across patches and across channels, in turn.

Source: Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", NeurIPS 2021, eq. 1.
"""

from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.markers import AtLeast, Positive
from bnnlab_convnets.network import Network


class MLPMixer(Network):
    """Blocks of two perceptrons, one across tokens and one across channels.

    A linear map makes tokens X of shape (S, C) from S patches of P x P pixels. Each block maps X to
    Y, where s is GELU or the sign, and biases are not shown:

    - U = X + W2 s(W1 LayerNorm(X)), with W1 of shape (D_S, S);
    - Y = U + s(LayerNorm(U) W3) W4, with W3 of shape (C, D_C).

    LayerNorm, the mean over the tokens, and a linear layer follow.

    Args:
        classes: Number of logits.
        patch: P, the side of a patch in pixels. It must divide the image's height and width.
        dim: C, the number of channels of a token.
        depth: Number of blocks.
        token_expansion: D_S / S, the hidden units of the perceptrons across tokens, per token.
        channel_expansion: D_C / C, the hidden units of the perceptrons across channels, per
            channel.
        remove_skips: Remove the shortcuts: the terms X and U of the sums.
        options: Options of `Network`.

    Raises:
        UsageError: If `patch` does not divide height and width.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        generator: torch.Generator,
        patch: Annotated[int, AtLeast(1)] = 4,
        dim: Annotated[int, AtLeast(1)] = 512,
        depth: Annotated[int, AtLeast(1)] = 12,
        token_expansion: Positive = 4.0,
        channel_expansion: Positive = 0.5,
        remove_skips: bool = False,
        **options: Any,
    ) -> None:
        expansions = (token_expansion, channel_expansion)
        build = partial(
            mlp_mixer, input_shape, classes, patch, dim, depth, expansions, remove_skips
        )
        super().__init__(build, input_shape=input_shape, generator=generator, **options)


def mlp_mixer(
    input_shape: tuple[int, ...],
    classes: int,
    patch: int,
    dim: int,
    depth: int,
    expansions: tuple[float, float],
    remove_skips: bool,
) -> nn.Module:
    """Return the network of `MLPMixer`, with real weights and GELU."""
    channels, height, width = input_shape
    if height % patch or width % patch:
        both = [n for n in range(1, height + 1) if not height % n and not width % n]
        raise UsageError(
            f"model.patch: {patch} does not divide {height}x{width} pixels; "
            f"use one of {', '.join(map(str, both))}"
        )
    tokens = (height // patch) * (width // patch)
    layers: list[nn.Module] = [nn.Conv2d(channels, dim, patch, patch), nn.Flatten(2), _Transpose()]
    block = nn.Sequential if remove_skips else _Residual
    for _ in range(depth):
        across_tokens = _perceptron(tokens, expansions[0])
        across_channels = _perceptron(dim, expansions[1])
        layers += [
            block(nn.LayerNorm(dim), _Transpose(), *across_tokens, _Transpose()),
            block(nn.LayerNorm(dim), *across_channels),
        ]
    return nn.Sequential(*layers, nn.LayerNorm(dim), _Mean(), nn.Linear(dim, classes))


def _perceptron(size: int, expansion: float) -> list[nn.Module]:
    units = max(1, round(expansion * size))
    return [nn.Linear(size, units), nn.GELU(), nn.Linear(units, size)]


class _Residual(nn.Sequential):
    """x + f(x)."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self:
            y = layer(y)
        return x + y


class _Transpose(nn.Module):
    """Swap tokens and channels, `(B, S, C)` and `(B, C, S)`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class _Mean(nn.Module):
    """The mean over tokens: `(B, S, C)` to `(B, C)`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)
