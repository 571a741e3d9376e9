"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

STRAIGHT_THROUGH = (
    "Courbariaux, Bengio and David, 'BinaryConnect: Training Deep Neural Networks with binary "
    "weights during propagations', NeurIPS 2015 (arXiv 1511.00363)"
)

REAL_LR = Option(
    "real_lr",
    float | None,
    None,
    "Learning rate of biases, norms and scales; 'none' for the same as lr.",
    above=0,
)
LATENT = (
    Option(
        "latent_init",
        float,
        0.05,
        "A fresh latent weight's size is uniform between 0 and this.",
        above=0,
    ),
    Option(
        "latent_clip",
        float | None,
        1.0,
        "Latent weights are kept within plus and minus this; 'none' for no bound.",
        above=0,
    ),
    Option(
        "gradient_clip",
        float | None,
        None,
        "The gradient's norm over all parameters is cut to this; 'none' for no bound.",
        above=0,
    ),
)

BP = Component(
    kind=Kind.RULE,
    name="bp",
    target="bnnlab_backprop.rule:Backpropagation",
    summary="Backpropagation through the whole network.",
    source="Rumelhart, Hinton and Williams, 'Learning representations by back-propagating errors', "
    "Nature 323, 1986",
    provides=frozenset({"gradients", "reevaluable"}),
)

ADAM = Component(
    kind=Kind.OPTIMIZER,
    name="adam",
    target="bnnlab_backprop.optimizers:LatentAdam",
    summary="Adam on latent weights for binary parameters, plain Adam for real ones.",
    source=f"Kingma and Ba, 'Adam', ICLR 2015 (arXiv 1412.6980); {STRAIGHT_THROUGH}",
    options=(
        Option("lr", float, 0.001, "Learning rate.", above=0, search=(1e-4, 1e-1)),
        REAL_LR,
        Option("beta1", float, 0.9, "Decay of the first moment.", minimum=0, below=1),
        Option("beta2", float, 0.999, "Decay of the second moment.", minimum=0, below=1),
        Option("eps", float, 1e-8, "Added to the root of the second moment.", above=0),
        Option("weight_decay", float, 0.0, "L2 penalty, added to the gradient.", minimum=0),
        *LATENT,
    ),
    requires=frozenset({"gradients"}),
    state_bytes=12,
)

SGD = Component(
    kind=Kind.OPTIMIZER,
    name="sgd",
    target="bnnlab_backprop.optimizers:LatentSGD",
    summary="SGD with momentum on latent weights for binary parameters, plain SGD for real ones.",
    source=STRAIGHT_THROUGH,
    options=(
        Option("lr", float, 0.1, "Learning rate.", above=0, search=(1e-3, 1.0)),
        REAL_LR,
        Option("momentum", float, 0.9, "Decay of the velocity.", minimum=0, below=1),
        Option("weight_decay", float, 0.0, "L2 penalty, added to the gradient.", minimum=0),
        *LATENT,
    ),
    requires=frozenset({"gradients"}),
    state_bytes=8,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rule `bp` and the optimizers `adam` and `sgd`."""
    return [BP, ADAM, SGD]
