"""What this plugin offers. Imports no torch."""

from typing import Any

from bnnlab.registry.components import Component, Kind
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


def _model(name: str, summary: str, source: str, weights: str, **preset: Any) -> Component:
    return Component(
        Kind.MODEL,
        name,
        "bnnlab_vit.network:VisionTransformer",
        summary,
        source,
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
            binary=("attention", "mlp"),
        ),
        _model(
            "hybrid",
            "A vision transformer with binary MLPs and real attention.",
            _BINARY,
            "binary-weights",
            binary=("mlp",),
            attention="real",
        ),
        DISTILL,
    ]
