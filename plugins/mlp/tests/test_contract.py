from bnnlab_testing import ModelContract


class TestMLP(ModelContract):
    name = "mlp"


class TestRealMLPWithEverything(ModelContract):
    name = "mlp"
    options = {"weights": "real", "norm": "batch", "affine": True, "bias": True, "hidden": [32]}


class TestMLPWithLearnedScales(ModelContract):
    name = "mlp"
    options = {"scale": "learned", "activation": "hardtanh", "norm": "none", "hidden": [32]}


class TestMLPWithGatesAndNormalisedLogits(ModelContract):
    name = "mlp"
    options = {"activation": "gate", "output_norm": True, "hidden": [32]}


class TestMLPWithBinaryGates(ModelContract):
    name = "mlp"
    options = {"activation": "reverse-binary-gate", "width": 1.25, "hidden": [32]}


class TestMLPWithARealOutput(ModelContract):
    name = "mlp"
    options = {"real_output": True, "hidden": [32]}
    real = {"segments.1.0.weight": "the option real_output asks for it"}
