"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

BOP = Component(
    kind=Kind.OPTIMIZER,
    name="bop",
    target="bnnlab_bop.optimizer:Bop",
    summary="Bop: a weight flips when its averaged gradient exceeds a threshold; no latent weight.",
    source=(
        "Helwegen, Widdicombe, Geiger, Liu, Cheng and Nusselder, 'Latent Weights Do Not Exist: "
        "Rethinking Binarized Neural Network Optimization', NeurIPS 2019 (arXiv 1906.02107)"
    ),
    requires=frozenset({"gradients", "binary-weights"}),
    state_bytes=4,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizer `bop`."""
    return [BOP]
