"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import OptimizerContract


class TestMetaplasticAdam(OptimizerContract):
    name = "meta"


class TestOnRealWeights(OptimizerContract):
    name = "meta"
    options = {"weights": "real"}
    without_effect = {"latent_init": "real weights are their own latent ones"}


class TestBeakers(OptimizerContract):
    name = "beakers"
    options = {"m": 50.0, "ratios": [0.5, 0.3, 0.2, 0.1], "feedback": 0.2}
