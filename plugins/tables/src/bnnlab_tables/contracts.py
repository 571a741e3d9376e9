"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import StreamContract


class TestTwoMoons(StreamContract):
    name = "two-moons"
    options = {"validation": 0.1}


class TestSnelsonLike(StreamContract):
    name = "snelson-like"
    options = {"gap": True}


class TestDiabetes(StreamContract):
    name = "diabetes"
    options = {"validation": 0.2}
