from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """This process is connected to a cluster of its own: starting one takes long."""
    ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=10**8)
    yield
    ray.shutdown()
