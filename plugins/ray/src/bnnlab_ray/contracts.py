"""What the contracts of the test kit are told of what this plugin offers."""

import signal
from collections.abc import Iterator

import pytest
import ray

from bnnlab_testing import EngineContract


@pytest.fixture(scope="session")
def ended() -> Iterator[None]:
    """No cluster is left."""
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def cluster(ended: None) -> None:
    """This process is connected to a cluster of its own, that of the module before if it can be."""
    if not ray.is_initialized():
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
        ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=10**8)
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("cluster")
class TestRay(EngineContract):
    name = "ray"
