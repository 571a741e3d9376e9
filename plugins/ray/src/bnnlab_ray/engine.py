"""The engine: the runs of a study on a Ray cluster. No ray and no torch is imported here."""

from concurrent.futures import Executor
from functools import cached_property
from typing import Annotated

from bnnlab.errors import UsageError
from bnnlab.markers import Above, AtLeast
from bnnlab_ray.cluster import Cluster
from bnnlab_studies.engine import Engine


class Ray(Engine):
    """Workers of a Ray cluster: one that is started for this study, or an existing one.

    A run waits until a machine of the cluster has the cores and GPUs that it needs.

    Args:
        address: `HOST:PORT` of an existing cluster, or `auto` for the one that `ray start` started
            on this machine. none: a cluster is started on this machine, and ends with the study.
        cpus: Cores of each run. It has as many threads of torch, and at least one.
        gpus: GPUs that each run reserves: a whole number, or a fraction below 1. With 0, it sees
            all of its machine.
        jobs: At most so many runs at a time. none: as many as the cluster has room for.
    """

    def __init__(
        self,
        address: str | None = None,
        cpus: Annotated[float, Above(0)] = 1.0,
        gpus: Annotated[float, AtLeast(0)] = 0.0,
        jobs: Annotated[int | None, AtLeast(1)] = None,
    ) -> None:
        if gpus > 1 and gpus != int(gpus):
            raise UsageError(f"gpus: {gpus:g} is above 1 and not a whole number")
        self._cluster = Cluster(address)
        self._needs = {"CPU": cpus, "GPU": gpus}
        self._most = jobs
        self.threads = max(1, int(cpus))

    @cached_property
    def jobs(self) -> int:  # type: ignore[override]  # only the cluster knows
        """How many calls are carried out at a time. This connects to the cluster.

        Raises:
            UsageError: If it cannot be reached, or has no machine that is large enough.
        """
        room = self._cluster.room_for(self._needs)
        return room if self._most is None else min(room, self._most)

    def executor(self, count: int) -> Executor:
        """Return an executor; at the end of its block, the cluster is left.

        Raises:
            UsageError: As of `jobs`.
        """
        from bnnlab_ray.executor import RayExecutor

        return RayExecutor(self._cluster, self._needs, max(1, min(self.jobs, count)))
