"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

STRAIGHT_THROUGH = (
    "Courbariaux, Bengio and David, 'BinaryConnect: Training Deep Neural Networks with binary "
    "weights during propagations', NeurIPS 2015 (arXiv 1511.00363)"
)

BP = Component(
    kind=Kind.RULE,
    name="bp",
    target="bnnlab_backprop.rule:Backpropagation",
    summary="Backpropagation through the whole network.",
    source="Rumelhart, Hinton and Williams, 'Learning representations by back-propagating errors', "
    "Nature 323, 1986",
    provides=frozenset({"gradients", "reevaluable", "any-loss"}),
)

ADAM = Component(
    kind=Kind.OPTIMIZER,
    name="adam",
    target="bnnlab_backprop.optimizers:LatentAdam",
    summary="Adam on latent weights for binary parameters, plain Adam for real ones.",
    source=f"Kingma and Ba, 'Adam', ICLR 2015 (arXiv 1412.6980); {STRAIGHT_THROUGH}",
    provides=frozenset({"latent-weights"}),
    requires=frozenset({"gradients"}),
    state_bytes=12,
)

SGD = Component(
    kind=Kind.OPTIMIZER,
    name="sgd",
    target="bnnlab_backprop.optimizers:LatentSGD",
    summary="SGD with momentum on latent weights for binary parameters, plain SGD for real ones.",
    source=STRAIGHT_THROUGH,
    provides=frozenset({"latent-weights"}),
    requires=frozenset({"gradients"}),
    state_bytes=8,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rule `bp` and the optimizers `adam` and `sgd`."""
    return [BP, ADAM, SGD]
