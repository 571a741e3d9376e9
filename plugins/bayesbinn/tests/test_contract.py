from bnnlab.testing import OptimizerContract


class TestBayesBiNN(OptimizerContract):
    name = "bayesbinn"


class TestSigns(OptimizerContract):
    name = "bayesbinn"
    options = {"mode": "sign"}
