"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
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
    options=(
        Option("lr", float, 0.005, "Learning rate.", above=0, search=(1e-4, 1e-1)),
        Option(
            "m",
            float | list[float] | Literal["auto"],
            1.35,
            "Metaplasticity, 0 for none; a list gives one per layer of weights; "
            "'auto' is 1 / (lr sqrt(steps per task)).",
            minimum=0,
            search=(0.5, 20.0),
        ),
        Option(
            "real_lr",
            float | None,
            None,
            "Learning rate of biases, norms and scales; 'none' for the same as lr.",
            above=0,
        ),
        Option("beta1", float, 0.9, "Decay of the first moment.", minimum=0, below=1),
        Option("beta2", float, 0.999, "Decay of the second moment.", minimum=0, below=1),
        Option("eps", float, 1e-8, "Added to the root of the second moment.", above=0),
        Option("weight_decay", float, 0.0, "L2 penalty, added to the gradient.", minimum=0),
        Option(
            "latent_init",
            float,
            0.05,
            "A fresh latent weight's size is uniform between 0 and this.",
            above=0,
        ),
        Option(
            "gradient_clip",
            float | None,
            None,
            "The gradient's norm over all parameters is cut to this; 'none' for no bound.",
            above=0,
        ),
        Option(
            "weights",
            Literal["binary", "real"],
            "binary",
            "What is metaplastic: binary weights, by their latent ones, or real ones.",
            requires={"binary": ("binary-weights",), "real": ("real-weights",)},
        ),
    ),
    requires=frozenset({"gradients"}),
    state_bytes=12,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizer `meta`."""
    return [META]
