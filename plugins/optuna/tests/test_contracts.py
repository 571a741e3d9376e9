"""The probe passes the conformance kit."""

from bnnlab_testing import ProbeContract


class TestPruning(ProbeContract):
    name = "pruning"
