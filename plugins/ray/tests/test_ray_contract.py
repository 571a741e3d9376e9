"""The engine passes the conformance kit, on one cluster for all checks but the last."""

import pytest

from bnnlab_testing import EngineContract


@pytest.mark.usefixtures("cluster")
class TestRay(EngineContract):
    name = "ray"
