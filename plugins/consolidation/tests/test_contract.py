from bnnlab_testing import OptimizerContract


class TestEWC(OptimizerContract):
    name = "ewc"


class TestSI(OptimizerContract):
    name = "si"
