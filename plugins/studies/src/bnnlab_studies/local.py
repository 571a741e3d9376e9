"""The engine `local`: worker processes on this machine. No torch is imported here."""

import queue
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import Annotated, TypeVar

from bnnlab.guards.threads import cores
from bnnlab.markers import AtLeast
from bnnlab_studies import worker
from bnnlab_studies.engine import Engine, RepeatingExecutor, WorkerDied

T = TypeVar("T")

_SPAWN = get_context("spawn")


class Local(Engine):
    """Worker processes on this machine.

    Args:
        jobs: How many runs at a time. none: one per core that this process may use.
    """

    def __init__(self, jobs: Annotated[int | None, AtLeast(1)] = None) -> None:
        self.jobs = cores() if jobs is None else jobs
        self.threads = max(1, cores() // self.jobs)

    def executor(self, count: int) -> "LocalExecutor":
        """Return an executor with a slot for each job."""
        return LocalExecutor(max(1, min(self.jobs, count)))


class LocalExecutor(RepeatingExecutor):
    """Slots with a worker process each, so that one that dies breaks its own slot alone.

    A worker lives as long as the executor and imports torch once.

    Args:
        slots: How many workers there are.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._of_others = {*active_children()}
        self._told, self._tell = _SPAWN.Pipe(duplex=False)
        self._free: queue.SimpleQueue[ProcessPoolExecutor] = queue.SimpleQueue()
        for _ in range(slots):
            self._free.put(self._make_slot())

    def _make_slot(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=_SPAWN, initializer=worker.begin, initargs=(self._told,)
        )

    def attempt(self, call: Callable[[], T]) -> T:
        """Make a call in the worker of a free slot. One that died is replaced.

        Raises:
            WorkerDied: If the worker died.
            CancelledError: If it died while the executor stops.
        """
        slot = self._free.get()
        try:
            with _deaf_to_ctrl_c():
                asked = slot.submit(worker.call, call)
            done: T = asked.result()
            return done
        except BrokenProcessPool as error:
            slot.shutdown()
            slot = self._make_slot()
            raise (CancelledError if self._tell.closed else WorkerDied) from error
        finally:
            self._free.put(slot)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Wait for all calls; after an exception, let those that run save and stop.

        Another exception meanwhile, such as a second Ctrl-C, stops them at once.
        """
        if kind is not None:
            self._tell.close()
        try:
            super().__exit__(kind, *rest)
        except BaseException:
            for process in {*active_children()} - self._of_others:
                process.terminate()
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: D102
        super().shutdown(wait, cancel_futures=cancel_futures)
        while wait and not self._free.empty():
            self._free.get().shutdown()
        if wait:
            self._tell.close()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Block SIGINT in this thread, so that it is blocked in the processes that it starts.

    Ctrl-C reaches all processes of a terminal. A worker that is still starting would print a
    traceback; `worker.begin` unblocks the signal.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
