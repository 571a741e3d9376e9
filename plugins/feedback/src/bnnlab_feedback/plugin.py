"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl


def _rule(name: str, target: str, summary: str, source: str) -> Component:
    return Component(
        kind=Kind.RULE,
        name=name,
        target=f"bnnlab_feedback.{target}",
        summary=summary,
        source=source,
        provides=frozenset({"gradients", "reevaluable", "any-loss"}),
    )


FA = _rule(
    "fa",
    "alignment:FeedbackAlignment",
    "Feedback alignment: the error goes back through fixed random weights.",
    "Lillicrap, Cownden, Tweed and Akerman, 'Random synaptic feedback weights support error "
    "backpropagation for deep learning', Nature Communications 7:13276, 2016 (arXiv 1411.0247)",
)

SIGN_SYMMETRIC = _rule(
    "sign-symmetric",
    "sign_symmetric:SignSymmetry",
    "Sign-symmetric feedback: the error goes back through the weights' signs.",
    "Liao, Leibo and Poggio, 'How Important Is Weight Symmetry in Backpropagation?', AAAI 2016 "
    "(arXiv 1510.05067); Moskovitz, Litwin-Kumar and Abbott, 'Feedback alignment in deep "
    "convolutional networks', 2018 (arXiv 1812.06488); Xiao, Chen, Liao and Poggio, "
    "'Biologically-Plausible Learning Algorithms Can Scale to Large Datasets', ICLR 2019 (arXiv "
    "1811.03567)",
)

KOLEN_POLLACK = _rule(
    "kolen-pollack",
    "kolen_pollack:KolenPollack",
    "Kolen-Pollack: weights of their own for the error learn to be those of the layers.",
    "Kolen and Pollack, 'Backpropagation without weight transport', IEEE ICNN 1994; Akrout, "
    "Wilson, Humphreys, Lillicrap and Tweed, 'Deep Learning without Weight Transport', NeurIPS "
    "2019 (arXiv 1904.05391)",
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rules `fa`, `sign-symmetric` and `kolen-pollack`."""
    return [FA, SIGN_SYMMETRIC, KOLEN_POLLACK]
