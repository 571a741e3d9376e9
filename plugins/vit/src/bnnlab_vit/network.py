"""The vision transformer: an embedding of patches, blocks, and a classifier.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at
Scale", ICLR 2021, eqs. 1-4.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from bnnlab.engine.building import expand
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.markers import AtLeast, FilePath, Positive
from bnnlab.nn.layers import Surrogate
from bnnlab_vit.blocks import (
    EPSILON,
    MLP,
    SPREAD,
    Attention,
    BinaryProduct,
    Block,
    Product,
    real_linear,
)
from bnnlab_vit.checkpoint import start_from

Pooling = Literal["mean", "token"]


def _spread(tokens: int, dim: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(1, tokens, dim), std=SPREAD)


class Embedding(nn.Module):
    """Maps patches to tokens: a linear map, a learned position, and maybe a class token.

    Args:
        channels: Number of channels of an image.
        patch: Side of a patch in pixels; patches do not overlap.
        dim: D, the number of channels of a token.
        patches: Number of patches.
        token: Whether a learned class token comes first.
    """

    def __init__(self, channels: int, patch: int, dim: int, patches: int, token: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, dim, patch, patch)
        nn.init.trunc_normal_(self.patches.weight, std=1 / math.sqrt(channels * patch**2))
        self.token = nn.Parameter(_spread(1, dim)) if token else None
        self.position = nn.Parameter(_spread(patches + token, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(B, C, H, W)` to tokens `(B, T, D)`."""
        tokens = self.patches(x).flatten(2).mT
        if self.token is not None:
            tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        y: Tensor = tokens + self.position
        return y


class Head(nn.Module):
    """The classifier: normalisation, the class token or the mean over tokens, a linear layer.

    Args:
        dim: D, the number of channels of a token.
        classes: Number of logits.
        pooling: Input of the linear layer: the first token, `token`, or the `mean` over all.
    """

    def __init__(self, dim: int, classes: int, pooling: Pooling) -> None:
        super().__init__()
        self.norm, self.pooling = nn.LayerNorm(dim, EPSILON), pooling
        self.classifier = real_linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(B, T, D)` to logits `(B, K)`."""
        x = self.norm(x)
        logits: Tensor = self.classifier(x[:, 0] if self.pooling == "token" else x.mean(1))
        return logits


class VisionTransformer(Model):
    """A vision transformer with real or binary blocks. A block is a segment.

    The embedding of patches and the classifier are real.

    Args:
        input_shape: `(C, H, W)` of an image.
        classes: Number of logits.
        generator: Draws the initial weights.
        binary: The binary parts of a block: `attention`, `mlp`, both or none.
        patch: Side of a patch in pixels. It must divide the image's height and width.
        dim: D, the number of channels of a token.
        depth: Number of blocks.
        heads: Heads of the attention. Their number must divide `dim`.
        mlp_ratio: Hidden units of an MLP divided by `dim`.
        pooling: Input of the classifier. mean: mean over the tokens. token: a learned class token.
        attention: The product of attention. real: as published. binary: queries, keys and values
            are signs, attention weights are 0 or a learned alpha.
        surrogate: Surrogate gradient of the signs.
        checkpoint: Initial weights: a file with the state of torchvision's VisionTransformer, or
            the folder of a run.

    Raises:
        UsageError: If the inputs are no images, a size does not divide, or the checkpoint does not
            fit.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        generator: torch.Generator,
        binary: Sequence[str] = (),
        patch: Annotated[int, AtLeast(1)] = 4,
        dim: Annotated[int, AtLeast(1)] = 128,
        depth: Annotated[int, AtLeast(1)] = 4,
        heads: Annotated[int, AtLeast(1)] = 4,
        mlp_ratio: Positive = 4.0,
        pooling: Pooling = "mean",
        attention: Literal["real", "binary"] = "real",
        surrogate: Surrogate = "polynomial",
        checkpoint: FilePath = "",
    ) -> None:
        channels, patches = _patches(input_shape, patch)
        if dim % heads:
            divisors = [n for n in range(1, dim + 1) if not dim % n]
            raise UsageError(
                f"model.heads: {heads} does not divide the {dim} channels of a token; "
                f"use one of {', '.join(map(str, divisors))}"
            )
        of_attention = surrogate if "attention" in binary else None
        of_mlp = surrogate if "mlp" in binary else None
        tokens = patches + (pooling == "token")

        def product() -> nn.Module:
            if attention == "real":
                return Product()
            return BinaryProduct(heads, dim // heads, tokens, surrogate)

        def block() -> Block:
            return Block(
                dim,
                Attention(dim, heads, product(), of_attention),
                MLP(dim, max(1, round(mlp_ratio * dim)), of_mlp),
            )

        with torch.random.fork_rng(devices=[]):
            seed = int(torch.randint(2**62, (), generator=generator))
            torch.default_generator.manual_seed(seed)
            embedding = Embedding(channels, patch, dim, patches, pooling == "token")
            head = Head(dim, classes, pooling)
            super().__init__([embedding, *(block() for _ in range(depth)), head], input_shape)
        if checkpoint:
            start_from(self, expand(checkpoint))


def _patches(input_shape: tuple[int, ...], patch: int) -> tuple[int, int]:
    """Return an image's channels and its number of patches."""
    if len(input_shape) != 3:
        raise UsageError(
            f"inputs of shape {tuple(input_shape)}: a vision transformer takes images (C, H, W)"
        )
    channels, height, width = input_shape
    if height % patch or width % patch:
        both = [n for n in range(1, height + 1) if not height % n and not width % n]
        raise UsageError(
            f"model.patch: {patch} does not divide {height}x{width} pixels; "
            f"use one of {', '.join(map(str, both))}"
        )
    return channels, (height // patch) * (width // patch)
