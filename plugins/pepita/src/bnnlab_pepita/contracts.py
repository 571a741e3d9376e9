"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import LearningRuleContract


class TestPepita(LearningRuleContract):
    name = "pepita"


class TestSignalPropagation(LearningRuleContract):
    name = "sigprop-tl"


class TestSignsOfErrors(LearningRuleContract):
    name = "pepita"
    options = {"error": "sign", "gain": 10.0, "positions": "root"}
    own_objective = True  # hidden layers see the errors' signs alone
