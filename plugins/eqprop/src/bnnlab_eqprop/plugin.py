"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

_SOURCE = (
    "Laydevant, Ernoult, Querlioz and Grollier, 'Training Dynamical Binary Neural Networks with "
    "Equilibrium Propagation', CVPR Workshops 2021 (arXiv 2103.08953)"
)
EQPROP = Component(
    kind=Kind.RULE,
    name="eqprop",
    target="bnnlab_eqprop.rule:EquilibriumPropagation",
    summary="Equilibrium propagation: relax, nudge the output, and compare the states at rest.",
    source=(
        "Scellier and Bengio, 'Equilibrium Propagation: Bridging the Gap between Energy-Based "
        "Models and Backpropagation', Front. Comput. Neurosci. 11:24, 2017 (arXiv 1602.05179); "
        + _SOURCE
    ),
    provides=frozenset({"gradients", "reevaluable"}),
    default_model="eqprop-mlp",
)

BPTT = Component(
    kind=Kind.RULE,
    name="bptt",
    target="bnnlab_eqprop.bptt:BackpropagationThroughTime",
    summary="Backpropagation through the last steps of a relaxation.",
    source=_SOURCE,
    provides=frozenset({"gradients", "reevaluable"}),
    default_model="eqprop-mlp",
)

_LAYERS = (
    Option(
        "weights",
        Literal["binary", "real"],
        "binary",
        "Weights of every layer.",
        provides={"binary": ("binary-weights",), "real": ("real-weights",)},
    ),
    Option(
        "activation",
        Literal["hard-sigmoid", "binary"],
        "hard-sigmoid",
        "Real states in [0, 1], or a slow membrane with binary output.",
    ),
    Option(
        "gamma",
        float,
        0.5,
        "With activation=binary: share of the drive in the new membrane.",
        above=0,
        maximum=1,
    ),
    Option("copies", int, 1, "Output units per class, which are averaged.", minimum=1),
    Option(
        "output",
        Literal["units", "linear"],
        "units",
        "Whether outputs have units as other layers have, or none, as for loss=cross-entropy.",
    ),
    Option(
        "scale",
        Literal["fixed", "learned"],
        "fixed",
        "Factor on binary weights: 1 / (2 sqrt(inputs)), or learned from there.",
    ),
)
_BIAS = Option(
    "bias", Literal["uniform", "zero"], "uniform", "Initial biases: within 1/sqrt(inputs), or 0."
)

MLP = Component(
    kind=Kind.MODEL,
    name="eqprop-mlp",
    target="bnnlab_eqprop.models:EqPropMLP",
    summary="Multi-layer perceptron for equilibrium propagation; binary or real weights and units.",
    source=_SOURCE,
    options=(
        Option("hidden", list[int], [4096], "Units of each hidden layer.", minimum=1),
        *_LAYERS,
        Option(
            "scale_per",
            Literal["layer", "unit"],
            "layer",
            "Whether a layer has one learned factor, or one for each of its units.",
        ),
        _BIAS,
    ),
    provides=frozenset({"segments"}),
)

CONV = Component(
    kind=Kind.MODEL,
    name="eqprop-conv",
    target="bnnlab_eqprop.models:EqPropConv",
    summary="Convolutional network for equilibrium propagation; binary or real weights and units.",
    source=_SOURCE,
    options=(
        Option("channels", list[int], [32, 64], "Of each block, input to output.", minimum=1),
        Option("kernel", int | list[int], 5, "Side of the convolutions, one or each.", minimum=1),
        Option("padding", int | list[int], 2, "Zeros on each side, one or each.", minimum=0),
        Option(
            "pooling", int | list[int], 2, "Side and stride of max pooling; 1: none.", minimum=1
        ),
        Option("hidden", list[int], [], "Units of hidden linear layers.", minimum=1),
        *_LAYERS,
        Option(
            "scale_per",
            Literal["layer", "channel"],
            "channel",
            "Whether a convolution has one learned factor, or one for each of its channels.",
        ),
        _BIAS,
    ),
    provides=frozenset({"segments"}),
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rules `eqprop` and `bptt` and the models `eqprop-mlp` and `eqprop-conv`."""
    return [EQPROP, BPTT, MLP, CONV]
