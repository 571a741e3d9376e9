"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

MESU = Component(
    kind=Kind.OPTIMIZER,
    name="mesu",
    target="bnnlab_mesu.mesu:MESU",
    summary="MESU: a Gaussian posterior; the more certain a weight, the slower it learns.",
    source=(
        "Bonnet et al., 'Bayesian continual learning and forgetting in neural networks', "
        "Nature Communications 2025 (arXiv 2504.13569)"
    ),
    provides=frozenset({"posterior"}),
    requires=frozenset({"gradients", "reevaluable", "real-weights"}),
    state_bytes=4,
)

BGD = Component(
    kind=Kind.OPTIMIZER,
    name="bgd",
    target="bnnlab_mesu.bgd:BGD",
    summary="Bayesian gradient descent: a Gaussian posterior by online variational Bayes.",
    source=(
        "Zeno, Golan, Hoffer and Soudry, 'Task Agnostic Continual Learning Using Online "
        "Variational Bayes', 2018 (arXiv 1803.10123)"
    ),
    provides=frozenset({"posterior"}),
    requires=frozenset({"gradients", "reevaluable", "real-weights"}),
    state_bytes=4,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizers `mesu` and `bgd`."""
    return [MESU, BGD]
