"""What this plugin offers. Imports no torch."""

from typing import Any

from bnnlab.registry.chains import CHAIN
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.declaration import When
from bnnlab.registry.hookspecs import hookimpl

_SIMONYAN = (
    "Simonyan and Zisserman, 'Very Deep Convolutional Networks for Large-Scale Image Recognition', "
    "ICLR 2015 (arXiv 1409.1556)"
)
_HE = "He, Zhang, Ren and Sun, 'Deep Residual Learning for Image Recognition', CVPR 2016"
_SANDLER = "Sandler et al., 'MobileNetV2: Inverted Residuals and Linear Bottlenecks', CVPR 2018"
_HOWARD = "Howard et al., 'Searching for MobileNetV3', ICCV 2019"


def _model(
    name: str,
    target: str,
    summary: str,
    source: str,
    when: tuple[When, ...] = CHAIN,
    argument: str | None = None,
    **preset: Any,
) -> Component:
    return Component(
        Kind.MODEL,
        name,
        f"bnnlab_convnets.{target}",
        summary,
        source,
        provides=frozenset({"segments"}),
        when=when,
        preset=preset,
        argument=argument,
    )


def _vgg(depth: int) -> Component:
    summary = f"VGG{depth} with batch normalisation."
    return _model(f"vgg{depth}", "vgg:VGG", summary, _SIMONYAN, depth=depth)


def _resnet(depth: int) -> Component:
    name = f"resnet{depth}"
    own = {"architecture": name, "width": 1.0, "dropout": 0.0}
    return _model(name, "zoo:Torchvision", f"ResNet{depth}.", _HE, **own)


def _mobilenet(name: str, summary: str, source: str) -> Component:
    return _model(name, "zoo:Torchvision", summary, source, architecture=name)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer ten models."""
    return [
        _model(
            "convnet",
            "convnet:ConvNet",
            "Blocks of convolution and pooling, then linear layers.",
            "Rastegari, Ordonez, Redmon and Farhadi, 'XNOR-Net: ImageNet Classification Using "
            "Binary Convolutional Neural Networks', ECCV 2016 (arXiv 1603.05279)",
        ),
        _model(
            "vgg-binaryconnect",
            "vgg:VGGBinaryConnect",
            "The VGG of BinaryConnect and BayesBiNN.",
            "Courbariaux, Bengio and David, 'BinaryConnect', NeurIPS 2015; Meng, Bachmann and "
            "Khan, 'Training Binary Neural Networks using the Bayesian Learning Rule', ICML 2020",
        ),
        _vgg(16),
        _vgg(19),
        _resnet(18),
        _resnet(50),
        _mobilenet("mobilenet_v2", "MobileNetV2.", _SANDLER),
        _mobilenet("mobilenet_v3_small", "MobileNetV3, the small one.", _HOWARD),
        _model(
            "mlp-mixer",
            "mixer:MLPMixer",
            "MLP-Mixer: perceptrons across patches and across channels, in turn.",
            "Tolstikhin et al., 'MLP-Mixer: An all-MLP Architecture for Vision', NeurIPS 2021 "
            "(arXiv 2105.01601)",
            # it has no batch normalisation
            when=tuple(when for when in CHAIN if when.option != "statistics"),
            statistics="running",
            norm_momentum=None,
            norm_eps=None,
        ),
        _model(
            "torchvision",
            "zoo:Torchvision",
            "Any classification network of torchvision, by its name there.",
            "TorchVision maintainers and contributors, 'TorchVision: PyTorch's Computer Vision "
            "library', 2016",
            argument="architecture",
        ),
    ]
