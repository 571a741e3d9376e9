"""A small convolutional network, block by block.

Rastegari, Ordonez, Redmon and Farhadi, "XNOR-Net: ImageNet Classification Using Binary
Convolutional Neural Networks", ECCV 2016, section 3.2, for the order of a block's parts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from torch import nn

from bnnlab.errors import UsageError
from bnnlab.families.chain import Chain, Layers, Rate
from bnnlab.markers import AtLeast
from bnnlab.nn.normalization import Norm
from bnnlab.registry.options import per_layer

Pooling = Literal["max", "avg", "none"]


class ConvNet(Chain):
    """Blocks of convolution, pooling, normalisation, activation and dropout, then linear layers.

    Each block and each linear layer is a segment. norm=layer normalises the maps of all channels of
    an example together, and learns a gain and a shift for each channel.

    Args:
        input_shape: `(C, H, W)` of an image.
        classes: Number of logits.
        channels: Channels of each block, from input to output.
        kernel: Side of the convolution kernels in pixels, for all blocks or one per block.
        stride: Stride of the convolutions in pixels, for all blocks or one per block.
        padding: Zeros on each side of the image in pixels, for all blocks or one per block.
        pooling: Pooling of 2x2 pixels with stride 2 after the convolution, for all blocks or one
            per block. max: the largest. avg: the mean.
        block_norm: Whether `norm` is for blocks, too, and not for linear layers alone.
        block_dropout: Share of the outputs of each block that are 0 in training.
        hidden: Units of each hidden linear layer.
        options: Options of `Chain`.

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
        kernel: Annotated[int | Sequence[int], AtLeast(1)] = 3,
        stride: Annotated[int | Sequence[int], AtLeast(1)] = 1,
        padding: Annotated[int | Sequence[int], AtLeast(0)] = 1,
        pooling: Pooling | Sequence[Pooling] = "max",
        block_norm: bool = True,
        block_dropout: Rate = 0.0,
        hidden: Sequence[Annotated[int, AtLeast(1)]] = (512,),
        norm: Norm = "batch",
        **options: Any,
    ) -> None:
        if len(input_shape) != 3:
            raise UsageError(f"convnet takes images (C, H, W), and inputs are {tuple(input_shape)}")
        given = {"kernel": kernel, "stride": stride, "padding": padding, "pooling": pooling}
        columns = [per_layer(f"model.{n}", v, len(channels), "block") for n, v in given.items()]
        blocks = [*zip(channels, *columns, strict=True)]

        def build(layers: Layers) -> list[nn.Sequential]:
            its = layers if block_norm else replace(layers, normalise=lambda *_, **__: None)
            segments, size = _blocks(its, input_shape, blocks, block_dropout)
            return [*segments, *layers.perceptron([size, *hidden], classes)]

        super().__init__(build, input_shape=input_shape, classes=classes, norm=norm, **options)


def _blocks(
    layers: Layers, input_shape: Sequence[int], blocks: Sequence[tuple[Any, ...]], dropout: float
) -> tuple[list[nn.Sequential], int]:
    """Return blocks (channels, kernel, stride, padding, pooling), and the size of their output."""
    inputs, *sides = input_shape
    segments: list[nn.Sequential] = []
    for number, (outputs, kernel, stride, padding, pooling) in enumerate(blocks, 1):
        sides = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
        pool = {"max": [nn.MaxPool2d(2)], "avg": [nn.AvgPool2d(2)], "none": []}[pooling]
        sides = [side // 2 if pool else side for side in sides]
        if min(sides) < 1:
            raise UsageError(
                f"model: block {number} leaves nothing of images {tuple(input_shape)}: take a "
                f"smaller kernel ({kernel}) or stride ({stride}), a larger padding ({padding}), or "
                f"no pooling ({pooling})"
            )
        weights = layers.convolution(
            inputs, outputs, kernel_size=kernel, stride=stride, padding=padding
        )
        segments.append(layers.hidden(weights, *pool, dropout=dropout, maps=True))
        inputs = outputs
    return segments, inputs * sides[0] * sides[1]
