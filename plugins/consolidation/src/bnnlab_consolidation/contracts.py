"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import OptimizerContract


class TestEWC(OptimizerContract):
    name = "ewc"


class TestSI(OptimizerContract):
    name = "si"
