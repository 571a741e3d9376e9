"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import LearningRuleContract

MEMORY = {"recompute": "it saves memory, and changes nothing else"}


class TestDirectFeedbackAlignment(LearningRuleContract):
    name = "dfa"
    without_effect = MEMORY


class TestRecomputingDirectFeedbackAlignment(LearningRuleContract):
    name = "dfa"
    options = {"recompute": True, "feedback": "sign"}
    without_effect = MEMORY


class TestLeakingDirectFeedbackAlignment(LearningRuleContract):
    name = "dfa"
    options = {"skip": "leak", "per": "channel"}
    without_effect = MEMORY


class TestSignsOfErrors(LearningRuleContract):
    name = "dfa"
    options = {"error": "sign"}
    without_effect = MEMORY


class TestDirectRandomTargetProjection(LearningRuleContract):
    name = "drtp"
    own_objective = True  # hidden segments look at the targets, not at the loss


class TestKaimingDirectRandomTargetProjection(LearningRuleContract):
    name = "drtp"
    options = {"feedback": "uniform", "fan": "in", "scale": 1.414, "mean": 0.1}
    own_objective = True


class TestLeakingDirectRandomTargetProjection(LearningRuleContract):
    name = "drtp"
    options = {"skip": "leak", "targets": "centred", "per": "channel"}
    own_objective = True
