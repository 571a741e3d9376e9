from bnnlab.testing import LearningRuleContract


class TestDirectFeedbackAlignment(LearningRuleContract):
    name = "dfa"


class TestRecomputingDirectFeedbackAlignment(LearningRuleContract):
    name = "dfa"
    options = {"recompute": True, "feedback": "sign"}
