"""What the contracts of the test kit are told of what this plugin offers."""

from typing import ClassVar

import torch
from torch import nn

from bnnlab import BinaryConv2d, BinaryLinear, Model, seeds
from bnnlab_eqprop.units import BinaryUnit, HardSigmoid
from bnnlab_testing import LearningRuleContract, ModelContract, toy

DYNAMICS = {"gamma": "units have it as a network comes to rest, which is for a rule to do"}
REAL = {**DYNAMICS, "scale_per": "real weights have no scale"}


class Relaxing(LearningRuleContract):
    """With a convolution, pooling and two linear layers, binary, whose layers all have units.

    Attributes:
        unit: Of every layer but a read-out.
        size: Scale of the weights, in 1/√fan-in. Half of that leaves most states of the hard
            sigmoid between their bounds, where they can learn.
    """

    steps = 40
    falls_to = 0.85
    unit: ClassVar[type[nn.Module]] = HardSigmoid
    size: ClassVar[float] = 0.5

    def make_model(self) -> Model:
        g = seeds.generator(0, "toy model")
        convolution = BinaryConv2d(1, 4, 3, bias=True, generator=g)
        hidden = BinaryLinear(16, 16, True, "learned", g)
        last = BinaryLinear(16, toy.CLASSES, True, generator=g)
        assert hidden.scale is not None
        with torch.no_grad():
            hidden.scale.mul_(self.size)
            for layer in (convolution, hidden, last):
                layer.fixed_scale *= self.size
                layer.bias.fill_(0.5)
        reads_out = self.options.get("loss") == "cross-entropy"
        return Model(
            [
                nn.Sequential(convolution, nn.MaxPool2d(2), self.unit()),
                nn.Sequential(nn.Flatten(), hidden, self.unit()),
                last if reads_out else nn.Sequential(last, self.unit()),
            ],
            toy.INPUT_SHAPE,
        )


class TestCentred(Relaxing):
    name = "eqprop"
    own_objective = True  # loss=squared is of the states, whatever the batch's own loss is


class TestOneSided(Relaxing):
    name = "eqprop"
    options = {"nudging": "one-sided", "free_steps": 15, "tolerance": 1e-3, "nudge": "state"}
    own_objective = True


class TestRandomSign(Relaxing):
    name = "eqprop"
    options = {
        "nudging": "random-sign", "free_steps": 15, "order": "synchronous", "nudge": "drive",
        "initial": 0.5, "tolerance": None,
    }  # fmt: skip
    own_objective = True


class TestEffectiveGradientsOfFixedErrors(Relaxing):
    name = "eqprop"
    options = {"free_steps": 15, "gradient": "effective", "error": "free", "tolerance": None}
    own_objective = True


class TestBinaryUnits(Relaxing):
    name = "eqprop"
    options = {"free_steps": 15, "beta": 2.0, "nudge": "drive"}
    own_objective = True
    unit = BinaryUnit


class TestReadOut(Relaxing):
    name = "eqprop"
    options = {"free_steps": 15, "loss": "cross-entropy"}
    without_effect = dict.fromkeys(("error", "nudge"), "it is of a squared error")
    size = 1.0


class TestBackpropagationThroughTime(Relaxing):
    name = "bptt"
    options = {"free_steps": 15, "tolerance": None}
    own_objective = True


class TestBackpropagationThroughTimeFromAReadOut(Relaxing):
    name = "bptt"
    options = {"free_steps": 15, "loss": "cross-entropy"}
    size = 1.0


class TestMLP(ModelContract):
    name = "eqprop-mlp"
    without_effect = DYNAMICS
    options = {"hidden": [32]}


class TestRealMLP(ModelContract):
    name = "eqprop-mlp"
    without_effect = REAL
    options = {"hidden": [32], "weights": "real", "bias": "zero"}


class TestMLPWithBinaryUnitsCopiesAndAScalePerLayer(ModelContract):
    name = "eqprop-mlp"
    without_effect = DYNAMICS
    options = {
        "hidden": [32, 16], "activation": "binary", "gamma": 0.3, "copies": 4, "scale": "learned",
    }  # fmt: skip


class TestMLPWithAScalePerUnit(ModelContract):
    name = "eqprop-mlp"
    without_effect = DYNAMICS
    options = {"hidden": [32], "scale": "learned", "scale_per": "unit"}


class TestConv(ModelContract):
    name = "eqprop-conv"
    without_effect = DYNAMICS
    options = {"channels": [8, 16], "kernel": [3, 5], "scale": "learned"}


class TestRealConv(ModelContract):
    name = "eqprop-conv"
    without_effect = REAL
    options = {"channels": [8], "pooling": [1], "hidden": [20], "weights": "real", "bias": "zero"}


class TestConvWithBinaryUnitsCopiesAndAScalePerLayer(ModelContract):
    name = "eqprop-conv"
    without_effect = DYNAMICS
    options = {
        "channels": [8], "activation": "binary", "copies": 4, "scale": "learned",
        "scale_per": "layer",
    }  # fmt: skip
