"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

HSIC = Component(
    kind=Kind.RULE,
    name="hsic",
    target="bnnlab_hsic.rule:HSICBottleneck",
    summary="Kernelised information bottleneck: a segment learns from similarities in a batch.",
    source=(
        "Pogodin and Latham, 'Kernelized information bottleneck leads to biologically plausible "
        "3-factor Hebbian learning in deep networks', NeurIPS 2020 (arXiv 2006.07123); Ma, Lewis "
        "and Kleijn, 'The HSIC Bottleneck: Deep Learning without Back-Propagation', AAAI 2020 "
        "(arXiv 1908.01580)"
    ),
    options=(
        Option(
            "form",
            Literal["zz", "xz"],
            "zz",
            "What a hidden segment loses: dependence on itself, or on the network's input.",
        ),
        Option(
            "estimator",
            Literal["biased", "plausible", "normalised"],
            "biased",
            "Measure of dependence: HSIC, pHSIC or nHSIC.",
        ),
        Option(
            "gamma",
            float,
            2.0,
            "Weight of the dependence on the class.",
            above=0,
            search=(2.0, 200.0),
        ),
        Option(
            "kernel",
            Literal["cosine", "gaussian"],
            "cosine",
            "How two examples' features are compared.",
        ),
        Option(
            "sigma",
            float,
            5.0,
            "With kernel=gaussian: its width, in units of sqrt(number of features).",
            above=0,
            search=(1.0, 10.0),
        ),
        Option(
            "centre",
            bool,
            True,
            "Whether each example's features are centred, over its units or its groups.",
        ),
        Option(
            "groups",
            int,
            1,
            "Groups of channels whose spread stands for the activity; 1 compares the activity.",
            minimum=1,
        ),
        Option(
            "power",
            float,
            0.5,
            "With groups: p of the spread, variance^(1 - p).",
            minimum=0,
            below=1,
        ),
    ),
    provides=frozenset({"gradients", "reevaluable"}),
    requires=frozenset({"segments"}),
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rule `hsic`."""
    return [HSIC]
