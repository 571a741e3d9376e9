"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.declaration import When
from bnnlab.registry.hookspecs import hookimpl

META = Component(
    kind=Kind.OPTIMIZER,
    name="meta",
    target="bnnlab_metaplasticity.optimizer:MetaplasticAdam",
    summary="Metaplastic Adam: the larger a latent weight, the harder it is to shrink.",
    source=(
        "Laborieux, Ernoult, Hirtzlin and Querlioz, 'Synaptic metaplasticity in binarized neural "
        "networks', Nature Communications 12:2549, 2021 (arXiv 2003.03533)"
    ),
    provides=frozenset({"latent-weights"}),
    when=(
        When("weights", "binary", requires={"binary-weights"}),
        When("weights", "real", requires={"real-weights"}),
    ),
    requires=frozenset({"gradients"}),
    state_bytes=12,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizer `meta`."""
    return [META]
