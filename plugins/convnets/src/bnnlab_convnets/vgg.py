"""VGG: convolutions of 3x3 pixels in stages, then linear layers.

Sources: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015; Courbariaux, Bengio and David, "BinaryConnect", NeurIPS 2015, and Meng,
Bachmann and Khan, "Training Binary Neural Networks using the Bayesian Learning Rule", ICML 2020.
"""

from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from bnnlab_convnets.network import SMALL, Network

_STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # columns D and E of the paper's table 1


class VGG(Network):
    """VGG16 or VGG19 with batch normalisation, which the two hidden linear layers have too.

    Where a side of the image has come down to one pixel, no further pooling follows. The last
    feature maps are averaged to 7x7 if they are larger. Small images (a side below 64) have them
    averaged to 1x1, and hidden linear layers of 512 units, not 4096.

    Args:
        input_shape: As in `Network`.
        classes: Number of logits.
        generator: As in `Network`.
        depth: 16 or 19.
        width: Factor on channels and units, above 0.
        options: As in `Network`.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        generator: torch.Generator,
        depth: Literal[16, 19],
        width: float = 1.0,
        **options: Any,
    ) -> None:
        build = partial(vgg, input_shape, classes, depth, width)
        super().__init__(build, input_shape=input_shape, generator=generator, **options)


def vgg(
    input_shape: tuple[int, ...], classes: int, depth: Literal[16, 19], width: float
) -> nn.Module:
    """Return the network of `VGG`, with real weights."""
    inputs, side = input_shape[0], min(input_shape[1:])
    layers: list[nn.Module] = []
    for count, channels in zip(_STAGES[depth], (64, 128, 256, 512, 512), strict=True):
        outputs = _scaled(channels, width)
        for _ in range(count):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        if side > 1:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    grid, units = (1, 512) if min(input_shape[1:]) < SMALL else (min(7, side), 4096)
    layers += [nn.AdaptiveAvgPool2d(grid), nn.Flatten()]
    inputs, outputs = inputs * grid**2, _scaled(units, width)
    for _ in range(2):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


class VGGBinaryConnect(Network):
    """(2x128C3)-MP2-(2x256C3)-MP2-(2x512C3)-MP2-(2x1024FC)-K, after Meng et al., appendix.

    No layer has a bias. Batch normalisation has no gain and shift; it follows every weight layer,
    after the pooling where there is one and on the logits too. Feature maps larger than 4x4, from
    images above 39 pixels, are averaged to 4x4 before the linear layers.

    Args:
        input_shape: As in `Network`.
        classes: Number of logits.
        generator: As in `Network`.
        width: Factor on channels and units, above 0.
        activations: As in `Network`; the paper's are real.
        keep: As in `Network`; in the paper every layer is binary.
        options: As in `Network`.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        generator: torch.Generator,
        width: float = 1.0,
        activations: Literal["binary", "real"] = "real",
        keep: Literal["first-and-last", "none"] = "none",
        **options: Any,
    ) -> None:
        super().__init__(
            partial(vgg_binaryconnect, input_shape, classes, width),
            input_shape=input_shape,
            generator=generator,
            activations=activations,
            keep=keep,
            **options,
        )


def vgg_binaryconnect(input_shape: tuple[int, ...], classes: int, width: float) -> nn.Module:
    """Return the network of `VGGBinaryConnect`, with real weights."""
    inputs = input_shape[0]
    layers: list[nn.Module] = []
    for channels in (128, 256, 512):
        outputs = _scaled(channels, width)
        for pooling in ([], [nn.MaxPool2d(2)]):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pooling]
            layers += [nn.BatchNorm2d(outputs, momentum=0.2, affine=False), nn.ReLU()]
            inputs = outputs
    grid = min(4, min(input_shape[1:]) // 8)
    layers += [nn.AdaptiveAvgPool2d(grid), nn.Flatten()]
    inputs *= grid**2
    outputs = _scaled(1024, width)
    for _ in range(2):
        layers += [nn.Linear(inputs, outputs, bias=False)]
        layers += [nn.BatchNorm1d(outputs, affine=False), nn.ReLU()]
        inputs = outputs
    layers += [nn.Linear(inputs, classes, bias=False), nn.BatchNorm1d(classes, affine=False)]
    return nn.Sequential(*layers)


def _scaled(number: int, width: float) -> int:
    return max(1, round(number * width))
