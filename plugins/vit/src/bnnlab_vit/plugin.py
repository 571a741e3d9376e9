"""What this plugin offers. Imports no torch."""

from typing import Any, Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

_DOSOVITSKIY = (
    "Dosovitskiy et al., 'An Image is Worth 16x16 Words: Transformers for Image Recognition at "
    "Scale', ICLR 2021 (arXiv 2010.11929)"
)
_BINARY = (
    f"{_DOSOVITSKIY}; Liu et al., 'ReActNet', ECCV 2020 (arXiv 2003.03488), 'Bi-Real Net', ECCV "
    "2018 (arXiv 1808.00278), and 'BiT: Robustly Binarized Multi-distilled Transformer', NeurIPS "
    "2022 (arXiv 2205.13016)"
)
_SIZES = (
    Option("patch", int, 4, "Side of a patch in pixels; divides the image's.", minimum=1),
    Option("dim", int, 128, "Channels of a token.", minimum=1),
    Option("depth", int, 4, "Number of blocks.", minimum=1),
    Option("heads", int, 4, "Heads of the attention; divides `dim`.", minimum=1),
    Option("mlp_ratio", float, 4.0, "Hidden units of an MLP, as a multiple of `dim`.", above=0),
    Option(
        "pooling",
        Literal["mean", "token"],
        "mean",
        "What is classified: the mean over the tokens, or a class token.",
    ),
)
_CHECKPOINT = Option(
    "checkpoint",
    str,
    "",
    "What weights begin as: a file with the state of torchvision's VisionTransformer, or the "
    "folder of a run.",
    path=True,
)
_SURROGATE = Option(
    "surrogate",
    Literal["saturating", "identity", "polynomial"],
    "polynomial",
    "Surrogate gradient of the signs.",
)
_ATTENTION = Option(
    "attention",
    Literal["real", "binary"],
    "real",
    "The product of attention: 'real'; or 'binary', of signs, with weights 0 or a learned alpha.",
)


def _model(
    name: str, summary: str, source: str, weights: str, *options: Option, **preset: Any
) -> Component:
    return Component(
        Kind.MODEL,
        name,
        "bnnlab_vit.network:VisionTransformer",
        summary,
        source,
        (*_SIZES, *options, _CHECKPOINT),
        provides=frozenset({"segments", weights}),
        preset=preset,
    )


DISTILL = Component(
    Kind.RULE,
    "distill",
    "bnnlab_vit.distillation:Distillation",
    "Distillation: backpropagation from the labels and from a teacher's logits.",
    "Hinton, Vinyals and Dean, 'Distilling the Knowledge in a Neural Network', 2015 (arXiv "
    "1503.02531); Touvron et al., 'Training data-efficient image transformers & distillation "
    "through attention', ICML 2021 (arXiv 2012.12877), eq. 2",
    (
        Option(
            "teacher", str, "", "The folder of the run that trained the teacher; needed.", path=True
        ),
        Option(
            "share",
            float,
            0.5,
            "lambda, the teacher's share of the loss; 0 for none.",
            minimum=0,
            maximum=1,
            search=(0.1, 0.9),
        ),
        Option("temperature", float, 3.0, "tau, which softens both logits.", above=0),
    ),
    provides=frozenset({"gradients", "reevaluable"}),
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer three models and the rule `distill`."""
    return [
        _model(
            "vit",
            "A vision transformer.",
            _DOSOVITSKIY,
            "real-weights",
            binary=(),
            attention="real",
            surrogate="polynomial",
        ),
        _model(
            "bvit",
            "A vision transformer with binary blocks: signs for weights and activations.",
            _BINARY,
            "binary-weights",
            _SURROGATE,
            _ATTENTION,
            binary=("attention", "mlp"),
        ),
        _model(
            "hybrid",
            "A vision transformer with binary MLPs and real attention.",
            _BINARY,
            "binary-weights",
            _SURROGATE,
            binary=("mlp",),
            attention="real",
        ),
        DISTILL,
    ]
