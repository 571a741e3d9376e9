"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

_PROVIDES = frozenset({"gradients", "reevaluable"})
_REQUIRES = frozenset({"segments"})

DFA = Component(
    kind=Kind.RULE,
    name="dfa",
    target="bnnlab_dfa.rule:DirectFeedbackAlignment",
    summary="Direct feedback alignment: fixed random matrices project the output error.",
    source=(
        "Nøkland, 'Direct Feedback Alignment Provides Learning in Deep Neural Networks', "
        "NeurIPS 2016 (arXiv 1609.01596)"
    ),
    provides=_PROVIDES | {"any-loss"},
    requires=_REQUIRES,
)

DRTP = Component(
    kind=Kind.RULE,
    name="drtp",
    target="bnnlab_dfa.drtp:DirectRandomTargetProjection",
    summary="Direct random target projection: fixed random matrices project the target.",
    source=(
        "Frenkel, Lefebvre and Bol, 'Learning Without Feedback: Fixed Random Learning Signals "
        "Allow for Feedforward Training of Deep Neural Networks', Front. Neurosci. 15:629892, 2021 "
        "(arXiv 1909.01311)"
    ),
    provides=_PROVIDES | {"class-losses"},
    requires=_REQUIRES,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rules `dfa` and `drtp`."""
    return [DFA, DRTP]
