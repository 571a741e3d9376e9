"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import LearningRuleContract


class TestPepita(LearningRuleContract):
    name = "pepita"


class TestSignalPropagation(LearningRuleContract):
    name = "sigprop-tl"
