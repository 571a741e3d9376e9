"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
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
    options=(
        Option(
            "gamma",
            float | list[float],
            1e-4,
            "Adaptivity rate: the newest gradient's share of the average; a list: one per layer.",
            above=0,
            maximum=1,
            search=(1e-5, 1e-2),
        ),
        Option(
            "threshold",
            float | list[float],
            1e-8,
            "tau: an average larger than this flips a weight of its own sign; or one per layer.",
            minimum=0,
            search=(1e-9, 1e-5),
        ),
        Option(
            "gamma_decay",
            float,
            1.0,
            "gamma is multiplied by this every `gamma_decay_steps` steps; 1 for a constant gamma.",
            above=0,
            maximum=1,
        ),
        Option(
            "gamma_decay_steps", int, 10000, "Steps after which gamma is multiplied.", minimum=1
        ),
        Option(
            "form",
            Literal["average", "accumulator"],
            "average",
            "'accumulator' keeps m / gamma, against threshold / gamma: fit for low precision.",
        ),
        Option(
            "real_optimizer",
            Literal["adam", "sgd"],
            "adam",
            "What updates biases, norms and scales; 'sgd' has no momentum.",
        ),
        Option(
            "real_lr",
            float | list[float],
            0.01,
            "Learning rate of biases, norms and scales; a list: one per layer.",
            above=0,
        ),
        Option(
            "scale_lr",
            float | list[float] | None,
            None,
            "Learning rate of learned scales, or one per layer; 'none': real_lr; 0: fixed.",
            minimum=0,
        ),
        Option(
            "scale_lr_decay",
            float,
            1.0,
            "scale_lr is multiplied by this every `scale_lr_decay_steps` steps.",
            above=0,
            maximum=1,
        ),
        Option(
            "scale_lr_decay_steps", int, 10000, "Steps after which it is multiplied.", minimum=1
        ),
    ),
    requires=frozenset({"gradients", "binary-weights"}),
    state_bytes=4,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizer `bop`."""
    return [BOP]
