from bnnlab_testing import LearningRuleContract


class TestPepita(LearningRuleContract):
    name = "pepita"


class TestSignalPropagation(LearningRuleContract):
    name = "sigprop-tl"
