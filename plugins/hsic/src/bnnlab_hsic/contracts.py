"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import LearningRuleContract

ONE_GROUP = {"power": "it is of groups, and there is one"}


class TestHSICBottleneck(LearningRuleContract):
    name = "hsic"
    own_objective = True
    without_effect = ONE_GROUP


class TestNormalisedHSICBottleneck(LearningRuleContract):
    name = "hsic"
    own_objective = True
    options = {
        "form": "xz", "estimator": "normalised", "gamma": 200.0, "kernel": "gaussian",
        "centre": False,
    }  # fmt: skip
    without_effect = ONE_GROUP


class TestLinearHSICBottleneck(LearningRuleContract):
    name = "hsic"
    own_objective = True
    options = {"kernel": "linear", "estimator": "normalised", "gamma": 20.0}
    without_effect = ONE_GROUP


class TestMedianHSICBottleneck(LearningRuleContract):
    name = "hsic"
    own_objective = True
    options = {"kernel": "gaussian", "class_kernel": "gaussian", "sigma": "median", "gamma": 20.0}
    without_effect = ONE_GROUP


class TestGroupedHSICBottleneck(LearningRuleContract):
    name = "hsic"
    own_objective = True
    options = {"estimator": "plausible", "groups": 4, "power": 0.2}
