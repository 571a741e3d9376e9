"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
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
    options=(
        Option(
            "mode",
            Literal["posterior", "sign"],
            "posterior",
            "Learn a posterior, or signs of averaged gradients: test_draws is 0 then.",
            provides={"posterior": ("posterior",)},
            requires={"posterior": ("reevaluable",)},
        ),
        Option("lr", float, 0.03, "Learning rate, alpha.", above=0, maximum=1, search=(1e-4, 0.1)),
        Option(
            "temperature",
            float,
            0.1,
            "Temperature of the relaxed weights; small ones are close to signs.",
            above=0,
            search=(1e-3, 1.0),
        ),
        Option("momentum", float, 0.0, "Momentum, beta.", minimum=0, below=1),
        Option(
            "prior",
            Literal["previous", "uniform", "none"],
            "previous",
            "What lambda is pulled to: the task before's posterior, 0, or nothing.",
        ),
        Option(
            "prior_precision",
            float,
            0.1,
            "Weight of the pull to the prior, kappa; 1 is the exact posterior's.",
            minimum=0,
            search=(0.01, 1.0),
        ),
        Option(
            "lambda_init",
            float,
            0.1,
            "A fresh lambda's size is uniform between 0 and this; with mode=sign take some 1e-4.",
            above=0,
            search=(0.01, 1.0),
        ),
        Option("train_draws", int, 1, "Weight draws per step, S.", minimum=1, search=(1, 2, 5)),
        Option(
            "test_draws",
            int,
            10,
            "Weight draws that an evaluation averages over, C; 0 for the deployed weights.",
            minimum=0,
        ),
        Option(
            "examples",
            int | None,
            None,
            "Examples in the training data, M; 'none' for the task's own number.",
            minimum=1,
        ),
        Option(
            "real_lr",
            float | None,
            0.001,
            "Learning rate of biases, norms and scales; 'none' for the same as lr.",
            above=0,
        ),
    ),
    requires=frozenset({"gradients", "binary-weights"}),
    state_bytes=8,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizer `bayesbinn`."""
    return [BAYESBINN]
