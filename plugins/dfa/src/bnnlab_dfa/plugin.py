"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.components import Component, Kind, Option
from bnnlab.hookspecs import hookimpl

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
            "recompute",
            bool,
            False,
            "Build, use and free each segment's graph in turn: less memory, a second forward pass.",
        ),
    ),
    provides=frozenset({"gradients", "reevaluable"}),
    requires=frozenset({"segments"}),
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rule `dfa`."""
    return [DFA]
