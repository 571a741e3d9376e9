import signal
from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """This process is connected to a cluster of its own: starting one takes long."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background job
    ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=10**8)
    signal.signal(signal.SIGINT, before)
    yield
    ray.shutdown()
