import pytest
import ray

from bnnlab_ray.contracts import cluster as cluster
from bnnlab_ray.contracts import ended as ended


@pytest.fixture
def alone() -> None:
    """This process is connected to no cluster, whatever module came before."""
    ray.shutdown()
