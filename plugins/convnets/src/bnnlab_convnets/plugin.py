"""What this plugin offers. Imports no torch."""

from typing import Any, Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl


def _options(activations: str = "binary", keep: str = "first-and-last") -> tuple[Option, ...]:
    return (
        Option(
            "weights",
            Literal["binary", "real"],
            "binary",
            "Weights of the linear and convolutional layers, but for those that `keep` names.",
            provides={"binary": ("binary-weights",), "real": ("real-weights",)},
        ),
        Option(
            "activations",
            Literal["binary", "real"],
            activations,
            "Signs in place of the activations, or the network's own.",
        ),
        Option(
            "surrogate",
            Literal["saturating", "identity", "polynomial"],
            "saturating",
            "Surrogate gradient of the signs.",
        ),
        Option(
            "scale",
            Literal["none", "fan-in", "learned"],
            "fan-in",
            "Factor on a binary layer's sums: 1, 1/sqrt(inputs), or learned per output.",
        ),
        Option(
            "keep",
            Literal["first-and-last", "none"],
            keep,
            "Which weight layers stay real when weights are binary.",
        ),
    )


_STATISTICS = Option(
    "statistics",
    Literal["running", "per-task", "recalibrated"],
    "running",
    "The statistics that batch normalisation uses at test; never those of the test batch.",
    requires={"per-task": ("task-ids",)},
)
_WIDTH = Option("width", float, 1.0, "Factor on channels and units.", above=0)
_MOBILE_WIDTH = Option("width", float, 1.0, "Factor on channels; of MobileNets alone.", above=0)
_SKIPS = Option("remove_skips", bool, False, "Drop the shortcuts around blocks.")

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
    *options: Option,
    argument: str | None = None,
    **preset: Any,
) -> Component:
    return Component(
        Kind.MODEL,
        name,
        f"bnnlab_convnets.{target}",
        summary,
        source,
        options,
        provides=frozenset({"segments"}),
        preset=preset,
        argument=argument,
    )


def _vgg(depth: int) -> Component:
    summary = f"VGG{depth} with batch normalisation."
    options = (_WIDTH, *_options(), _STATISTICS)
    return _model(f"vgg{depth}", "vgg:VGG", summary, _SIMONYAN, *options, depth=depth)


def _resnet(depth: int) -> Component:
    name, options = f"resnet{depth}", (_SKIPS, *_options(), _STATISTICS)
    return _model(
        name, "zoo:Torchvision", f"ResNet{depth}.", _HE, *options, architecture=name, width=1.0
    )


def _mobilenet(name: str, summary: str, source: str) -> Component:
    options = (_MOBILE_WIDTH, _SKIPS, *_options(), _STATISTICS)
    return _model(name, "zoo:Torchvision", summary, source, *options, architecture=name)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer nine models."""
    return [
        _model(
            "vgg-binaryconnect",
            "vgg:VGGBinaryConnect",
            "The VGG of BinaryConnect and BayesBiNN.",
            "Courbariaux, Bengio and David, 'BinaryConnect', NeurIPS 2015; Meng, Bachmann and "
            "Khan, 'Training Binary Neural Networks using the Bayesian Learning Rule', ICML 2020",
            _WIDTH,
            *_options(activations="real", keep="none"),
            _STATISTICS,
        ),
        _vgg(16),
        _vgg(19),
        _resnet(18),
        _resnet(50),
        _mobilenet("mobilenet_v2", "MobileNetV2.", _SANDLER),
        _mobilenet("mobilenet_v3_small", "MobileNetV3 small.", _HOWARD),
        _model(
            "mlp-mixer",
            "mixer:MLPMixer",
            "MLP-Mixer: perceptrons over patches and over channels, alternating.",
            "Tolstikhin et al., 'MLP-Mixer: An all-MLP Architecture for Vision', NeurIPS 2021 "
            "(arXiv 2105.01601)",
            Option("patch", int, 4, "Side of a patch in pixels; divides the image's.", minimum=1),
            Option("dim", int, 512, "Channels of a token.", minimum=1),
            Option("depth", int, 12, "Number of blocks.", minimum=1),
            Option(
                "token_expansion",
                float,
                4.0,
                "Hidden units of the perceptrons across tokens, per token.",
                above=0,
            ),
            Option(
                "channel_expansion",
                float,
                0.5,
                "Hidden units of the perceptrons across channels, per channel.",
                above=0,
            ),
            _SKIPS,
            *_options(),
        ),
        _model(
            "torchvision",
            "zoo:Torchvision",
            "Any classification network of torchvision, by its name.",
            "TorchVision maintainers and contributors, 'TorchVision: PyTorch's Computer Vision "
            "library', 2016",
            Option("architecture", str, "resnet18", "Its name in torchvision.models."),
            _MOBILE_WIDTH,
            _SKIPS,
            *_options(),
            _STATISTICS,
            argument="architecture",
        ),
    ]
