"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.declaration import When
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

_WEIGHTS = (
    When("weights", "binary", provides={"binary-weights"}),
    When("weights", "real", provides={"real-weights"}),
)

MLP = Component(
    kind=Kind.MODEL,
    name="eqprop-mlp",
    target="bnnlab_eqprop.models:EqPropMLP",
    summary="Multi-layer perceptron for equilibrium propagation; binary or real weights and units.",
    source=_SOURCE,
    provides=frozenset({"segments"}),
    when=_WEIGHTS,
)

CONV = Component(
    kind=Kind.MODEL,
    name="eqprop-conv",
    target="bnnlab_eqprop.models:EqPropConv",
    summary="Convolutional network for equilibrium propagation; binary or real weights and units.",
    source=_SOURCE,
    provides=frozenset({"segments"}),
    when=_WEIGHTS,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rules `eqprop` and `bptt` and the models `eqprop-mlp` and `eqprop-conv`."""
    return [EQPROP, BPTT, MLP, CONV]
