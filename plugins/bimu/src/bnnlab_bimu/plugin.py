"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

TARGET = "bnnlab_bimu.optimizer:BiMU"
SOURCE = (
    "'Active Continual Learning with Metaplastic Binary Bayesian Neural Networks', ICML 2026 "
    "(arXiv 2605.30198)"
)
MEMORY = Option(
    "memory",
    float | None,
    1000.0,
    "N, what the pull to the uniform prior is divided by; 'none' for no pull, as `bhu`.",
    minimum=1,
    search=(100.0, 10000.0),
)
OPTIONS = (
    Option("lr", float, 1.0, "Learning rate of the gradient's part.", above=0, search=(0.1, 100.0)),
    Option(
        "lr_max",
        float,
        5.0,
        "Largest rate, reached where a certain weight is strengthened.",
        above=0,
        search=(1e-3, 15.0),
    ),
    Option(
        "likelihood_weight",
        float,
        1.0,
        "kappa, the weight of the loss's gradient.",
        above=0,
        search=(0.1, 300.0),
    ),
    Option(
        "kl_weight",
        float,
        0.1,
        "rho, the weight of the divergence from the posterior before the step.",
        minimum=0,
        search=(0.01, 10.0),
    ),
    Option(
        "draws",
        Literal["relaxed", "hard"],
        "relaxed",
        "Weights learned at: 'relaxed' are real, 'hard' are signs learned straight through.",
    ),
    Option(
        "temperature",
        float,
        1.0,
        "tau of relaxed draws; near 0 they are signs.",
        above=0,
        search=(0.5, 1.5),
    ),
    Option("train_draws", int, 2, "S, weight draws per step.", minimum=1),
    Option(
        "test_draws",
        int,
        10,
        "C, weight draws an evaluation averages over; 0 for the deployed weights.",
        minimum=0,
    ),
    Option(
        "batch_size",
        int | None,
        None,
        "Examples per step; 'none' to hear it at the task's start.",
        minimum=1,
    ),
    Option(
        "real_lr",
        float | None,
        0.001,
        "Learning rate of biases, norms and scales, by Adam; 'none' for the same as lr.",
        above=0,
    ),
    Option(
        "lambda_init",
        float | None,
        None,
        "A fresh lambda's size is uniform between 0 and this; 'none' for 1 / sqrt(fan-in).",
        above=0,
    ),
)
REQUIRES = frozenset({"gradients", "reevaluable", "binary-weights"})
PROVIDES = frozenset({"posterior"})

BIMU = Component(
    kind=Kind.OPTIMIZER,
    name="bimu",
    target=TARGET,
    summary="BiMU: a Bernoulli posterior; the more certain a weight, the slower it weakens.",
    source=SOURCE,
    options=(*OPTIONS, MEMORY),
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
    options=OPTIONS,
    requires=REQUIRES,
    provides=PROVIDES,
    preset={"memory": None},
    state_bytes=4,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizers `bimu` and `bhu`."""
    return [BIMU, BHU]
