from bnnlab.testing import ModelContract


class TestMLP(ModelContract):
    name = "mlp"


class TestRealMLPWithEverything(ModelContract):
    name = "mlp"
    options = {"weights": "real", "norm": "batch", "affine": True, "bias": True, "hidden": [32]}


class TestMLPWithLearnedScales(ModelContract):
    name = "mlp"
    options = {"scale": "learned", "activation": "hardtanh", "norm": "none", "hidden": [32]}
