from bnnlab_testing import LearningRuleContract, OptimizerContract


class TestBackpropagation(LearningRuleContract):
    name = "bp"


class TestLatentAdam(OptimizerContract):
    name = "adam"


class TestLatentSGD(OptimizerContract):
    name = "sgd"
