"""VGG: convolutions of 3x3 pixels in stages, then linear layers.

Sources: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015; Courbariaux, Bengio and David, "BinaryConnect", NeurIPS 2015, and Meng,
Bachmann and Khan, "Training Binary Neural Networks using the Bayesian Learning Rule", ICML 2020.
"""

from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from bnnlab.markers import Positive
from bnnlab_convnets.network import SMALL, Network

_STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # columns D and E of the paper's table 1


class VGG(Network):
    """VGG16 or VGG19 with batch normalisation, also in the two hidden linear layers.

    A feature map with a side of one pixel is not pooled further. The last feature maps are averaged
    to 7x7 if they are larger. For small images (a side below 64) they are averaged to 1x1, and the
    hidden linear layers have 512 units instead of 4096.

    Args:
        classes: Number of logits.
        depth: Number of weight layers, 16 or 19.
        width: Factor on the numbers of channels and hidden units.
        options: Options of `Network`.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        generator: torch.Generator,
        depth: Literal[16, 19],
        width: Positive = 1.0,
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

    No layer has a bias. Batch normalisation without gain and shift follows every weight layer,
    after the pooling if there is one, and is applied to the logits, too. Feature maps larger than
    4x4, from images with sides above 39 pixels, are averaged to 4x4 before the linear layers. In
    the papers all weights are binary and all activations real.

    Args:
        classes: Number of logits.
        width: Factor on the numbers of channels and hidden units.
        options: Options of `Network`.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        generator: torch.Generator,
        width: Positive = 1.0,
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
