"""The executor: each call is one task of Ray."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import exceptions as lost

from bnnlab.errors import BnnlabError, first_line
from bnnlab_ray import worker
from bnnlab_ray.cluster import Cluster
from bnnlab_studies.asking import EngineError
from bnnlab_studies.engine import RepeatingExecutor, WorkerDied

T = TypeVar("T")


class RayExecutor(RepeatingExecutor):
    """Each call is a task of the cluster.

    Ray could repeat a task itself, but says so to nobody, and repeats for ever one that needs too
    much memory.

    Args:
        cluster: What is left at the end.
        needs: Cores ("CPU") and GPUs ("GPU") of a call.
        slots: How many calls are asked for at a time.
    """

    def __init__(self, cluster: Cluster, needs: Mapping[str, float], slots: int) -> None:
        cluster.connect()
        super().__init__(slots)
        self._cluster = cluster
        task: Any = ray.remote(worker.call)
        self._task = task.options(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_retries=0)
        self._where = str(Path.cwd()), worker.surroundings()
        self._asking = threading.Lock()
        self._asked: set[Any] = set()
        self._is_stopping = False

    def attempt(self, call: Callable[[], T]) -> T:
        """Make a call in a worker of the cluster.

        Raises:
            WorkerDied: If the worker died, or its machine.
            CancelledError: If the executor stops.
            EngineError: If the cluster failed.
        """
        task = self._ask(call)
        try:
            done: T = ray.get(task)
            return done
        except lost.RayTaskError as error:
            raise _cause(error) from None
        except (lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError) as error:
            raise (CancelledError if self._is_stopping else WorkerDied) from error
        except lost.TaskCancelledError as error:
            raise CancelledError from error
        except lost.RayError as error:
            raise EngineError(f"the Ray cluster failed: {first_line(error)}") from error
        finally:
            self._asked.discard(task)

    def _ask(self, call: Callable[[], Any]) -> Any:
        with self._asking:
            if self._is_stopping:
                raise CancelledError
            task = self._task.remote(call, *self._where)
            self._asked.add(task)
            return task

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: D102
        try:
            if cancel_futures:
                super().shutdown(wait=False, cancel_futures=True)
                self._stop()
            super().shutdown(wait)
        finally:  # also after a second Ctrl-C
            if wait:
                self._cluster.leave()

    def _stop(self) -> None:
        """Interrupt the calls, as Ctrl-C does: their runs save and stop."""
        with self._asking:
            self._is_stopping = True
            tasks = [*self._asked]
        for task in tasks:
            ray.cancel(task)


def _cause(error: lost.RayTaskError) -> BaseException:
    """Return what the function raised, or what kept the worker from calling it."""
    cause: BaseException = error.cause
    if isinstance(cause, lost.TaskCancelledError):
        return CancelledError()
    if not isinstance(cause, BnnlabError) and "No module named" in str(error):
        return EngineError(
            "a machine of the Ray cluster lacks a package: install there what is installed here "
            f"({_last_line(error)})"
        )
    return cause


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2]
