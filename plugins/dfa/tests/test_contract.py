import pytest

from bnnlab_testing import LearningRuleContract


class TestDirectFeedbackAlignment(LearningRuleContract):
    name = "dfa"


class TestRecomputingDirectFeedbackAlignment(LearningRuleContract):
    name = "dfa"
    options = {"recompute": True, "feedback": "sign"}


class TestLeakingDirectFeedbackAlignment(LearningRuleContract):
    name = "dfa"
    options = {"skip": "leak", "per": "channel"}


class TestDirectRandomTargetProjection(LearningRuleContract):
    name = "drtp"
    own_objective = True  # hidden segments look at the targets, not at the loss


@pytest.mark.slow  # a variant of what is above
class TestLeakingDirectRandomTargetProjection(LearningRuleContract):
    name = "drtp"
    options = {"skip": "leak", "targets": "centred", "per": "channel"}
    own_objective = True
