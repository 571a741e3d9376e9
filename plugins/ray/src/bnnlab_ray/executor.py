"""The executor: each call is one task of Ray."""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import exceptions as lost

from bnnlab.errors import BnnlabError, RunError, first_line
from bnnlab_ray import worker
from bnnlab_ray.cluster import Cluster
from bnnlab_studies.engine import ATTEMPTS

log = logging.getLogger("bnnlab.ray")  # below `bnnlab`, which the command line shows

T = TypeVar("T")


class RayExecutor(Executor):
    """Threads here that each wait for a task of the cluster.

    Ray could repeat a task itself, but says so to nobody, and repeats for ever one that needs too
    much memory.

    Args:
        cluster: What is left at the end.
        needs: Cores ("CPU") and GPUs ("GPU") of a call.
        slots: How many calls are asked for at a time.
    """

    def __init__(self, cluster: Cluster, needs: Mapping[str, float], slots: int) -> None:
        cluster.connect()
        self._cluster = cluster
        task: Any = ray.remote(worker.call)
        self._task = task.options(num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_retries=0)
        self._where = str(Path.cwd()), worker.surroundings()
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="bnnlab-ray")
        self._asking = threading.Lock()
        self._asked: set[Any] = set()
        self._is_stopping = False

    def submit(  # noqa: D102  # that of Executor
        self, function: Callable[..., T], /, *arguments: Any, **keywords: Any
    ) -> Future[T]:
        return self._threads.submit(self._carry_out, function, arguments, keywords)

    def _carry_out(
        self, function: Callable[..., T], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> T:
        """Call a function in a worker; in another worker if that one dies."""
        what = arguments[0] if arguments else function.__qualname__
        for left in reversed(range(ATTEMPTS)):
            task = self._ask(function, arguments, keywords)
            try:
                done: T = ray.get(task)
                return done
            except lost.RayTaskError as error:
                raise _cause(error) from None
            except (lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError) as error:
                if self._is_stopping:
                    raise CancelledError from error
                if left:
                    log.warning("the worker of %s died: it goes on in a new one", what)
            except lost.TaskCancelledError as error:
                raise CancelledError from error
            except lost.RayError as error:
                raise RunError(f"the Ray cluster failed: {first_line(error)}") from error
            finally:
                self._asked.discard(task)
        raise RunError(f"{ATTEMPTS} workers of it died, one after another")

    def _ask(self, *called: Any) -> Any:
        with self._asking:
            if self._is_stopping:
                raise CancelledError
            task = self._task.remote(*called, *self._where)
            self._asked.add(task)
            return task

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for all calls; after an exception, let those that run save and stop."""
        self.shutdown(cancel_futures=kind is not None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: D102
        try:
            if cancel_futures:
                self._threads.shutdown(wait=False, cancel_futures=True)
                self._stop()
            self._threads.shutdown(wait)
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
        return RunError(
            "a machine of the Ray cluster lacks a package: install there what is installed here "
            f"({_last_line(error)})"
        )
    return cause


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2]
