from bnnlab.testing import OptimizerContract


class TestBop(OptimizerContract):
    name = "bop"
