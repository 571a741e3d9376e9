"""The classification networks of torchvision."""

from functools import partial
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import MobileNetV2, MobileNetV3, ResNet, get_model, list_models
from torchvision.models.resnet import BasicBlock, Bottleneck

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.families.chain import Rate
from bnnlab.markers import Positive
from bnnlab.nn.dropout import Dropout
from bnnlab_convnets.network import SMALL, Network


class Torchvision(Network):
    """A network of torchvision with fresh weights and without auxiliary outputs.

    The first convolution is made for the channels of the images and initialised after He et al.
    (2015). For small images (a side below 64) it has stride 1 in ResNets and MobileNets; in ResNets
    its kernel is 3x3 and no pooling follows, as is usual for CIFAR. Vision transformers are built
    for the size of the images. The rest is torchvision's.

    Args:
        classes: Number of logits.
        architecture: The network's name in `torchvision.models`.
        width: Factor on the numbers of channels; only for MobileNets.
        remove_skips: Remove the shortcut around each block, with its convolution; only for ResNets,
            MobileNets and EfficientNets.
        dropout: Share of the numbers that are 0 in training, where the network has dropout.
        options: Options of `Network`.

    Raises:
        UsageError: If there is no such network, or it does not support `width`, `remove_skips` or
            `dropout`.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        classes: int,
        generator: torch.Generator,
        architecture: str = "resnet18",
        width: Positive = 1.0,
        remove_skips: bool = False,
        dropout: Rate = 0.0,
        **options: Any,
    ) -> None:
        build = partial(
            zoo_network, architecture, input_shape, classes, width, remove_skips, dropout
        )
        super().__init__(build, input_shape=input_shape, generator=generator, **options)


def zoo_network(
    architecture: str,
    input_shape: tuple[int, ...],
    classes: int,
    width: float = 1.0,
    remove_skips: bool = False,
    dropout: float = 0.0,
) -> nn.Module:
    """Return the network of `Torchvision`, with real weights. torch's generator draws."""
    known = list_models(module=torchvision.models)
    if architecture not in known:
        raise UsageError(
            f"model.architecture: torchvision has no {architecture!r}."
            f"{did_you_mean(architecture, known)} There are: {', '.join(known)}."
        )
    settings: dict[str, Any] = {}
    if architecture in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": True}
    elif architecture.startswith("vit_"):
        settings = {"image_size": input_shape[-1]}
    elif architecture.startswith("mobilenet_"):
        settings = {"width_mult": width}
    if width != 1 and "width_mult" not in settings:
        raise UsageError(f"model.width is for MobileNets; {architecture} has no such factor")
    network: nn.Module = get_model(architecture, num_classes=classes, **settings)
    _fit_stem(network, input_shape)
    if remove_skips and not _remove_skips(network):
        raise UsageError(
            "model.remove_skips knows the blocks of ResNets, MobileNets and EfficientNets; "
            f"{architecture} has others"
        )
    if dropout and not _set_dropout(network, dropout):
        raise UsageError(f"model.dropout: {architecture} has no dropout: leave it out")
    return network


def _fit_stem(network: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Replace the first convolution by one for images of this shape."""
    name, old = next((n, p) for n, p in network.named_modules() if isinstance(p, nn.Conv2d))
    shape: tuple[Any, Any, Any] = (old.kernel_size, old.stride, old.padding)
    if min(input_shape[1:]) < SMALL:
        if isinstance(network, ResNet):
            shape = (3, 1, 1)
            network.maxpool = nn.Identity()
        elif isinstance(network, MobileNetV2 | MobileNetV3):
            shape = (old.kernel_size, 1, old.padding)
    new = nn.Conv2d(input_shape[0], old.out_channels, *shape, bias=old.bias is not None)
    nn.init.kaiming_normal_(new.weight, nonlinearity="relu")
    network.set_submodule(name, new)


def _remove_skips(network: nn.Module) -> bool:
    """Remove the shortcuts of known kinds of blocks; return whether there were any."""
    found = False
    for name, block in list(network.named_modules()):
        if isinstance(block, BasicBlock | Bottleneck):
            layers = [(f"conv{n}", f"bn{n}", "relu") for n in "123" if hasattr(block, f"conv{n}")]
            chain = [getattr(block, part) for layer in layers for part in layer]
            network.set_submodule(name, nn.Sequential(*chain))
            found = True
        elif hasattr(block, "use_res_connect"):
            block.use_res_connect = False
            found = True
    return found


def _set_dropout(network: nn.Module, rate: float) -> bool:
    """Replace torch's dropout by bnnlab's, at another rate; return whether there was any."""
    names = [name for name, part in network.named_modules() if isinstance(part, nn.Dropout)]
    for name in names:
        network.set_submodule(name, Dropout(rate, torch.default_generator))
    return bool(names)
