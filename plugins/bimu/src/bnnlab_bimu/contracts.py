"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import OptimizerContract


class TestBiMU(OptimizerContract):
    name = "bimu"


class TestBiMUWithHardDraws(OptimizerContract):
    name = "bimu"
    options = {"draws": "hard"}
    without_effect = {"temperature": "only relaxed draws have one"}


class TestBHU(OptimizerContract):
    name = "bhu"
