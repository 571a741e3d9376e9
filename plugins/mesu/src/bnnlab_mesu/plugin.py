"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

_SIGMA_INIT = Option(
    "sigma_init",
    float,
    0.5,
    "A fresh weight's standard deviation is this over sqrt(fan-in).",
    above=0,
    search=(0.1, 3.0),
)
_CLAMP = Option(
    "clamp",
    float | None,
    1.0,
    "Gradients are cut to this over sigma; 'none' for no bound.",
    above=0,
    search=(0.05, 1.0),
)
_TRAIN_DRAWS = Option("train_draws", int, 3, "Weight draws per step.", minimum=1, search=(1, 10))
_TEST_DRAWS = Option(
    "test_draws",
    int,
    10,
    "Weight draws that an evaluation averages over; 0 for the means.",
    minimum=0,
)
_BATCH_SIZE = Option(
    "batch_size",
    int | None,
    None,
    "Examples per step; 'none' to take the run's.",
    minimum=1,
)
_REAL_LR = Option(
    "real_lr",
    float | None,
    0.001,
    "Learning rate of Adam for biases and norms; 'none' for the same as lr.",
    above=0,
)

MESU = Component(
    kind=Kind.OPTIMIZER,
    name="mesu",
    target="bnnlab_mesu.mesu:MESU",
    summary="MESU: a Gaussian posterior; the more certain a weight, the slower it learns.",
    source=(
        "Bonnet et al., 'Bayesian continual learning and forgetting in neural networks', "
        "Nature Communications 2025 (arXiv 2504.13569)"
    ),
    options=(
        Option("lr", float, 1.0, "Factor on the steps of the mean.", above=0, search=(0.1, 10.0)),
        Option(
            "sigma_lr",
            float,
            1.0,
            "Factor on the steps of the standard deviation.",
            above=0,
            search=(0.1, 10.0),
        ),
        _SIGMA_INIT,
        Option("prior_mean", float, 0.0, "Mean of the prior that weights forget to."),
        Option(
            "prior_sigma",
            float,
            0.1,
            "Standard deviation of the prior that weights forget to.",
            above=0,
            search=(0.01, 1.0),
        ),
        Option(
            "memory",
            float | None,
            1e6,
            "Steps that the posterior remembers; 'none' to forget nothing.",
            above=0,
            search=(1e4, 1e7),
        ),
        _CLAMP,
        _TRAIN_DRAWS,
        _TEST_DRAWS,
        _BATCH_SIZE,
        _REAL_LR,
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
    options=(
        Option(
            "lr", float, 1.0, "eta, factor on the steps of the mean.", above=0, search=(0.1, 10.0)
        ),
        _SIGMA_INIT,
        _CLAMP,
        _TRAIN_DRAWS,
        _TEST_DRAWS,
        _BATCH_SIZE,
        _REAL_LR,
    ),
    provides=frozenset({"posterior"}),
    requires=frozenset({"gradients", "reevaluable", "real-weights"}),
    state_bytes=4,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizers `mesu` and `bgd`."""
    return [MESU, BGD]
