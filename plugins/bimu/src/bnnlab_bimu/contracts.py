"""What the contracts of the test kit are told of what this plugin offers."""

import pytest

from bnnlab_testing import OptimizerContract


class TestBiMU(OptimizerContract):
    name = "bimu"


@pytest.mark.slow  # a variant of what is above
class TestBiMUWithHardDraws(OptimizerContract):
    name = "bimu"
    options = {"draws": "hard"}
    without_effect = {"temperature": "only relaxed draws have one"}


class TestBHU(OptimizerContract):
    name = "bhu"
