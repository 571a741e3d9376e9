from bnnlab.testing import OptimizerContract


class TestBiMU(OptimizerContract):
    name = "bimu"


class TestBiMUWithHardDraws(OptimizerContract):
    name = "bimu"
    options = {"draws": "hard"}


class TestBHU(OptimizerContract):
    name = "bhu"
