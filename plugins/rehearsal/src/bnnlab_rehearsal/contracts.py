"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import LearningRuleContract, StreamContract

COPY = {"test_what_it_draws_follows_its_seed": "it holds a copy of the model, and draws nothing"}


class TestReplay(LearningRuleContract):
    name = "bnnlab-rehearsal/replay"


class TestReplayOfAFewFromABalancedMemory(LearningRuleContract):
    name = "bnnlab-rehearsal/replay"
    options = {"size": 30, "policy": "balanced", "recalled": 7, "base": "dfa"}


class TestERACE(LearningRuleContract):
    name = "bnnlab-rehearsal/er-ace"
    options = {"size": 30}


class TestDERPP(LearningRuleContract):
    name = "bnnlab-rehearsal/derpp"
    options = {"size": 30}


class TestLwF(LearningRuleContract):
    name = "bnnlab-rehearsal/lwf"
    xfail = COPY


class TestLwFAroundDFA(LearningRuleContract):
    name = "bnnlab-rehearsal/lwf"
    options = {"base": {"name": "dfa", "recompute": True}}


class TestJoint(StreamContract):
    name = "bnnlab-rehearsal/joint"
    options = {"base": {"name": "split-digits", "validation": 0.2}}


class TestJointOfCopies(StreamContract):
    name = "bnnlab-rehearsal/joint"
    options = {"base": {"name": "permuted-digits", "tasks": 2}}


class TestBlended(StreamContract):
    name = "bnnlab-rehearsal/blended"
    options = {"base": {"name": "permuted-digits", "tasks": 3, "validation": 0.1}}
    waits = 1  # to know which task each row is of, once for many batches


class TestBlendedClasses(StreamContract):
    name = "bnnlab-rehearsal/blended"
    options = {"base": {"name": "split-digits", "augment": "cifar"}, "beta": 2.0}
    waits = 3  # for what is drawn, once for many batches
