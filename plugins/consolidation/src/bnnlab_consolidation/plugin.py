"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.declaration import When
from bnnlab.registry.hookspecs import hookimpl

EWC = Component(
    kind=Kind.OPTIMIZER,
    name="ewc",
    target="bnnlab_consolidation.ewc:EWC",
    summary="Elastic weight consolidation: a penalty on changes, weighted by Fisher information.",
    source=(
        "Kirkpatrick et al., 'Overcoming catastrophic forgetting in neural networks', PNAS "
        "114(13), 2017 (arXiv 1612.00796); online: Schwarz et al., 'Progress & Compress', ICML "
        "2018 (arXiv 1805.06370)"
    ),
    when=tuple(When("variant", each, requires={"boundaries"}) for each in ("online", "offline")),
    requires=frozenset({"gradients"}),
    state_bytes=16,
)

SI = Component(
    kind=Kind.OPTIMIZER,
    name="si",
    target="bnnlab_consolidation.si:SI",
    summary="Synaptic intelligence: a penalty on changes, weighted by effects on earlier losses.",
    source=(
        "Zenke, Poole and Ganguli, 'Continual Learning Through Synaptic Intelligence', ICML 2017 "
        "(arXiv 1703.04200)"
    ),
    requires=frozenset({"gradients", "boundaries"}),
    state_bytes=20,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizers `ewc` and `si`."""
    return [EWC, SI]
