"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import LearningRuleContract, OptimizerContract


class TestBackpropagation(LearningRuleContract):
    name = "bp"


class TestLatentAdam(OptimizerContract):
    name = "adam"


class TestLatentSGD(OptimizerContract):
    name = "sgd"
