"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.declaration import When
from bnnlab.registry.hookspecs import hookimpl

LABORIEUX = (
    "Laborieux, Ernoult, Hirtzlin and Querlioz, 'Synaptic metaplasticity in binarized neural "
    "networks', Nature Communications 12:2549, 2021 (arXiv 2003.03533)"
)
WEIGHTS = (
    When("weights", "binary", requires={"binary-weights"}),
    When("weights", "real", requires={"real-weights"}),
)

META = Component(
    kind=Kind.OPTIMIZER,
    name="meta",
    target="bnnlab_metaplasticity.optimizer:MetaplasticAdam",
    summary="Metaplastic Adam: the larger a latent weight, the harder it is to shrink.",
    source=LABORIEUX,
    provides=frozenset({"latent-weights"}),
    when=WEIGHTS,
    requires=frozenset({"gradients"}),
    state_bytes=12,
)

BEAKERS = Component(
    kind=Kind.OPTIMIZER,
    name="beakers",
    target="bnnlab_metaplasticity.beakers:BeakerAdam",
    summary="Adam with a chain of ever slower copies behind each latent weight: a control.",
    source=(
        "Benna and Fusi, 'Computational principles of synaptic memory consolidation', Nature "
        f"Neuroscience 19, 2016; {LABORIEUX}"
    ),
    provides=frozenset({"latent-weights"}),
    when=WEIGHTS,
    requires=frozenset({"gradients"}),
    state_bytes=24,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizers `meta` and `beakers`."""
    return [META, BEAKERS]
