"""What this plugin offers. Imports no torch."""

from bnnlab.registry.chains import CHAIN
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

MLP = Component(
    kind=Kind.MODEL,
    name="mlp",
    target="bnnlab_mlp.mlp:MLP",
    summary="Multi-layer perceptron with binary or real weights.",
    source=(
        "Hubara, Courbariaux, Soudry, El-Yaniv and Bengio, 'Binarized Neural Networks', "
        "NeurIPS 2016 (arXiv 1602.02830)"
    ),
    provides=frozenset({"segments"}),
    when=CHAIN,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the model `mlp`."""
    return [MLP]
