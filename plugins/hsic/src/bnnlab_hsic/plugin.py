"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
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
    provides=frozenset({"gradients", "reevaluable", "class-losses", "whole-batch"}),
    requires=frozenset({"segments"}),
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rule `hsic`."""
    return [HSIC]
