"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.declaration import When
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
    when=(
        When("weights", "binary", provides={"binary-weights"}),
        When("weights", "real", provides={"real-weights"}),
        When("statistics", "per-task", requires={"task-ids"}),
        When("scale", "latent", requires={"latent-weights"}),
    ),
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the model `mlp`."""
    return [MLP]
