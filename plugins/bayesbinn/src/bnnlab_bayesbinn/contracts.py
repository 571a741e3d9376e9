"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import OptimizerContract


class TestBayesBiNN(OptimizerContract):
    name = "bayesbinn"


class TestMeanWeights(OptimizerContract):
    name = "bayesbinn"
    options = {"train_draws": 0, "lambda_start": "fixed"}
    without_effect = {"temperature": "nothing is drawn that it could relax"}


class TestSigns(OptimizerContract):
    name = "bayesbinn"
    options = {"mode": "sign"}
    without_effect = dict.fromkeys(
        ("examples", "momentum", "prior", "prior_precision", "temperature", "test_draws",
         "train_draws"),
        "signs of an average of gradients have no posterior to draw from",
    )  # fmt: skip
