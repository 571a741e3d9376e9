"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import OptimizerContract


class TestEWC(OptimizerContract):
    name = "ewc"


class TestExactEWC(OptimizerContract):
    name = "ewc"
    options = {"variant": "offline", "fisher": "exact", "shuffle": True}
    without_effect = {"decay": "offline, all tasks count alike"}


class TestStreamEWC(OptimizerContract):
    name = "ewc"
    options = {"variant": "stream", "strength": 5.0, "decay": 0.2}
    without_effect = dict.fromkeys(
        ("fisher", "fisher_samples", "shuffle"), "the gradients of the steps are squared"
    )
    xfail = {
        "test_a_huge_gradient_leaves_finite_numbers": (
            "as published, a step overshoots where lr strength F is above 1; a run stops there"
        ),
    }


class TestSI(OptimizerContract):
    name = "si"


class TestSIWithAStrengthPerTask(OptimizerContract):
    name = "si"
    options = {"strength": [0.0, 3.0, 30.0]}
