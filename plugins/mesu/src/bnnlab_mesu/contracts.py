"""What the contracts of the test kit are told of what this plugin offers."""

import torch

from bnnlab_testing import OptimizerContract


class GaussianContract(OptimizerContract):
    def test_what_is_gaussian_has_two_or_more_dimensions(self) -> None:
        model = self.make_model()
        gaussian, real = self.make(0, model).param_groups
        assert [p.ndim for p in gaussian["params"]] == [4, 2]
        assert [p.ndim for p in real["params"]] == [1, 1]
        assert not gaussian["binary"]
        assert all(isinstance(p, torch.nn.Parameter) for p in gaussian["params"])


class TestMESU(GaussianContract):
    name = "mesu"


class TestBoundedMESU(GaussianContract):
    name = "mesu"
    options = {"clamp": None, "ratio_max": 0.5, "sigma_min": 0.1, "sigma_max": 0.2}


class TestBGD(GaussianContract):
    name = "bgd"
