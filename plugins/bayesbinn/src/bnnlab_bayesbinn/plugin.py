"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.declaration import When
from bnnlab.registry.hookspecs import hookimpl

BAYESBINN = Component(
    kind=Kind.OPTIMIZER,
    name="bayesbinn",
    target="bnnlab_bayesbinn.optimizer:BayesBiNN",
    summary="BayesBiNN: the Bayesian learning rule for a Bernoulli posterior over binary weights.",
    source=(
        "Meng, Bachmann and Khan, 'Training Binary Neural Networks using the Bayesian Learning "
        "Rule', ICML 2020 (arXiv 2002.10778)"
    ),
    when=(When("mode", "posterior", provides={"posterior"}, requires={"reevaluable"}),),
    requires=frozenset({"gradients", "binary-weights"}),
    state_bytes=8,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizer `bayesbinn`."""
    return [BAYESBINN]
