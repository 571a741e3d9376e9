"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import ProbeContract


class TestPruning(ProbeContract):
    name = "pruning"
