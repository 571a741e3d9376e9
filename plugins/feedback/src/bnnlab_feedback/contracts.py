"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import LearningRuleContract


class TestFeedbackAlignment(LearningRuleContract):
    name = "fa"


class TestSignSymmetry(LearningRuleContract):
    name = "sign-symmetric"


class TestRedrawnSignSymmetry(LearningRuleContract):
    name = "sign-symmetric"
    options = {"magnitude": "batch"}


class TestKolenPollack(LearningRuleContract):
    name = "kolen-pollack"
