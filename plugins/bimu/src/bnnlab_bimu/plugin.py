"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

TARGET = "bnnlab_bimu.optimizer:BiMU"
SOURCE = (
    "'Active Continual Learning with Metaplastic Binary Bayesian Neural Networks', ICML 2026 "
    "(arXiv 2605.30198)"
)
REQUIRES = frozenset({"gradients", "reevaluable", "binary-weights"})
PROVIDES = frozenset({"posterior"})

BIMU = Component(
    kind=Kind.OPTIMIZER,
    name="bimu",
    target=TARGET,
    summary="BiMU: a Bernoulli posterior; the more certain a weight, the slower it weakens.",
    source=SOURCE,
    requires=REQUIRES,
    provides=PROVIDES,
    state_bytes=4,
)
BHU = Component(
    kind=Kind.OPTIMIZER,
    name="bhu",
    target=TARGET,
    summary="BHU: BiMU without forgetting.",
    source=SOURCE,
    requires=REQUIRES,
    provides=PROVIDES,
    preset={"memory": None},
    state_bytes=4,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizers `bimu` and `bhu`."""
    return [BIMU, BHU]
