"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

_SHARED = (
    Option(
        "feedback",
        Literal["normal", "uniform", "sign"],
        "normal",
        "Distribution of the feedback matrices' elements.",
    ),
    Option(
        "scale",
        float,
        1.0,
        "Standard deviation of the feedback onto a segment of d outputs, times sqrt(d).",
        above=0,
        search=(0.1, 10.0),
    ),
    Option(
        "per",
        Literal["neuron", "channel"],
        "neuron",
        "What has a feedback weight of its own; per channel, all positions share one.",
    ),
    Option(
        "skip",
        Literal["cut", "leak"],
        "cut",
        "What skip connections carry: nothing from segment to segment, or the later feedback.",
    ),
    Option(
        "at",
        Literal["output", "norm"],
        "output",
        "What is taught: an output, or its layer normalisation, which transformers read.",
    ),
)
_PROVIDES = frozenset({"gradients", "reevaluable"})
_REQUIRES = frozenset({"segments"})

DFA = Component(
    kind=Kind.RULE,
    name="dfa",
    target="bnnlab_dfa.rule:DirectFeedbackAlignment",
    summary="Direct feedback alignment: the output error through fixed random matrices.",
    source=(
        "Nøkland, 'Direct Feedback Alignment Provides Learning in Deep Neural Networks', "
        "NeurIPS 2016 (arXiv 1609.01596)"
    ),
    options=(
        *_SHARED,
        Option(
            "recompute",
            bool,
            False,
            "Find the error in a first forward pass, teach each segment in a second: less memory.",
        ),
    ),
    provides=_PROVIDES,
    requires=_REQUIRES,
)

DRTP = Component(
    kind=Kind.RULE,
    name="drtp",
    target="bnnlab_dfa.drtp:DirectRandomTargetProjection",
    summary="Direct random target projection: the target through fixed random matrices.",
    source=(
        "Frenkel, Lefebvre and Bol, 'Learning Without Feedback: Fixed Random Learning Signals "
        "Allow for Feedforward Training of Deep Neural Networks', Front. Neurosci. 15:629892, 2021 "
        "(arXiv 1909.01311)"
    ),
    options=(
        *_SHARED,
        Option(
            "targets",
            Literal["one-hot", "centred"],
            "one-hot",
            "What is projected: the target as it is, or less its mean over the classes.",
        ),
    ),
    provides=_PROVIDES,
    requires=_REQUIRES,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rules `dfa` and `drtp`."""
    return [DFA, DRTP]
