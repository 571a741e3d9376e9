"""What the contracts of the test kit are told of what this plugin offers."""

from bnnlab_testing import ProbeContract


class TestWeights(ProbeContract):
    name = "bnnlab-analysis/weights"


class TestUncertainty(ProbeContract):
    name = "bnnlab-analysis/uncertainty"


class TestConfusion(ProbeContract):
    name = "bnnlab-analysis/confusion"


class TestDiagnosis(ProbeContract):
    name = "bnnlab-analysis/diagnosis"


class TestFresh(ProbeContract):
    name = "bnnlab-analysis/fresh"


class TestTopK(ProbeContract):
    name = "bnnlab-analysis/top-k"
    options = {"k": 2}


class TestRealErrors(ProbeContract):
    name = "bnnlab-analysis/real-errors"
