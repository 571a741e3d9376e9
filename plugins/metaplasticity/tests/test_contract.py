from bnnlab.testing import OptimizerContract


class TestMetaplasticAdam(OptimizerContract):
    name = "meta"
