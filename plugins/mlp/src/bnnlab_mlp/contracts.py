"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import ModelContract


class TestMLP(ModelContract):
    name = "mlp"


class TestRealMLPWithEverything(ModelContract):
    name = "mlp"
    options = {"weights": "real", "norm": "batch", "affine": True, "bias": True, "hidden": [32]}


class TestMLPWithDropout(ModelContract):
    name = "mlp"
    options = {"input_dropout": 0.2, "dropout": 0.5, "norm": "group", "groups": 4, "hidden": [32],
               "activation": "tanh", "weights": "real", "init": "xavier-uniform"}  # fmt: skip


class TestMLPWithScalesOfLatentWeights(ModelContract):
    name = "mlp"
    options = {"scale": "latent", "surrogate": "swish", "init": "normal", "init_scale": 0.1,
               "output_activation": "tanh", "hidden": [32]}  # fmt: skip


class TestMLPWithLearnedScalesAndBinaryGates(ModelContract):
    name = "mlp"
    options = {"scale": "learned", "activation": "reverse-binary-gate", "width": 1.25,
               "norm": "none", "hidden": [32]}  # fmt: skip


class TestMLPWithGatesAndARealNormalisedOutput(ModelContract):
    name = "mlp"
    options = {"activation": "gate", "output_norm": True, "real_output": True, "hidden": [32]}
    real = {"segments.1.0.weight": "the option real_output asks for it"}
    without_effect = {"groups": "five logits are not in 32 groups of equal size"}
