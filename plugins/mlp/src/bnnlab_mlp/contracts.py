"""What the contracts of the test kit are told of what this plugin offers."""

import pytest

from bnnlab_testing import ModelContract


class LargeContract(ModelContract):
    @pytest.mark.slow
    def test_no_option_is_ignored(self) -> None:
        super().test_no_option_is_ignored()


class TestMLP(LargeContract):
    name = "mlp"


class TestRealMLPWithEverything(LargeContract):
    name = "mlp"
    options = {"weights": "real", "norm": "batch", "affine": True, "bias": True, "hidden": [32]}


class TestMLPWithLearnedScalesAndBinaryGates(ModelContract):
    name = "mlp"
    options = {"scale": "learned", "activation": "reverse-binary-gate", "width": 1.25,
               "norm": "none", "hidden": [32]}  # fmt: skip


class TestMLPWithGatesAndARealNormalisedOutput(LargeContract):
    name = "mlp"
    options = {"activation": "gate", "output_norm": True, "real_output": True, "hidden": [32]}
    real = {"segments.1.0.weight": "the option real_output asks for it"}
