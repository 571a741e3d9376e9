"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import EngineContract


class TestLocal(EngineContract):
    name = "local"
    options = {"jobs": 2}
