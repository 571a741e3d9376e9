from bnnlab.testing import OptimizerContract


class TestBop(OptimizerContract):
    name = "bop"
    without_effect = {
        "gamma_decay": "the first decay comes after 10000 steps",
        "gamma_decay_steps": "a factor of 1 is no decay",
    }


class TestBopWithASchedule(OptimizerContract):
    name = "bop"
    options = {"gamma_decay": 0.5, "gamma_decay_steps": 1}
