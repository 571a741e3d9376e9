"""What the contracts of the test kit are told of what this plugin offers."""

from torch import nn

from bnnlab import BinaryConv2d, BinaryLinear, Model, Sign, seeds
from bnnlab_testing import OptimizerContract, toy

NO_SCALES = {
    "scale_lr_decay": "the toy model has no scaling factors to learn",
    "scale_lr_decay_steps": "the toy model has no scaling factors to learn",
}
CONSTANT_GAMMA = {
    "gamma_decay": "the first decay comes after 10000 steps",
    "gamma_decay_steps": "a factor of 1 is no decay",
}


class TestBop(OptimizerContract):
    name = "bop"
    without_effect = {**NO_SCALES, **CONSTANT_GAMMA}


class TestBopWithASchedule(OptimizerContract):
    name = "bop"
    options = {"gamma_decay": 0.5, "gamma_decay_steps": 1}
    without_effect = NO_SCALES


class TestBopAndGradientDescent(OptimizerContract):
    name = "bop"
    options = {"form": "accumulator", "real_optimizer": "sgd"}
    without_effect = {**NO_SCALES, **CONSTANT_GAMMA}


class TestBopWithAValuePerLayer(OptimizerContract):
    name = "bop"
    options = {
        "gamma": [1e-4, 1e-3, 1e-2],
        "threshold": [1e-8, 1e-7, 1e-6],
        "real_optimizer": "sgd",
        "real_lr": [0.1, 0.05, 0.025],
        "scale_lr": [1e-2, 1e-3, 1e-4],
        "scale_lr_decay": 0.5,
        "scale_lr_decay_steps": 1,
    }
    without_effect = CONSTANT_GAMMA
    xfail = {
        "test_it_finds_the_best_of_all_weights": "its model has one layer, and no scaling factors",
        "test_real_lr_is_the_real_parameters_own": (
            "weights are in a group per layer, and scaling factors have a rate of their own"
        ),
    }

    def make_model(self) -> Model:
        """The toy model, but the first and the last layer learn their scaling factors."""
        draws = seeds.generator(0, "toy model")
        last = BinaryLinear(32, toy.CLASSES, True, "learned", draws)
        return Model(
            [
                nn.Sequential(
                    BinaryConv2d(1, 4, 3, bias=True, scale="learned", generator=draws), Sign()
                ),
                nn.Sequential(nn.Flatten(), BinaryLinear(64, 32, True, generator=draws), Sign()),
                last,
            ],
            toy.INPUT_SHAPE,
        )
