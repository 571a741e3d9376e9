"""Engines: what carries out the runs of a study. No torch is imported here."""

import logging
import queue
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import Annotated, Any, TypeVar

from bnnlab.errors import BnnlabError, RunError, UsageError, explain, place
from bnnlab.guards.threads import cores
from bnnlab.markers import AtLeast
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import Choice
from bnnlab_studies import worker

log = logging.getLogger("bnnlab.studies")  # below `bnnlab`, which the command line shows

T = TypeVar("T")

ATTEMPTS = 3
"""How many workers a call may lose before it fails."""
_SPAWN = get_context("spawn")


class Engine(ABC):
    """What carries out the runs of a study. The constructor's keywords are its options.

    Attributes:
        threads: Threads of torch of each run that does not say its own number.
        jobs: How many calls are carried out at a time. A tuner asks for no more trials than that
            at once: each should know the results of those before.
    """

    threads: int
    jobs: int

    @abstractmethod
    def executor(self, count: int) -> Executor:
        """Return a new executor, a context manager, for at most `count` calls.

        `submit(function, *arguments)` calls a function in a worker process. The function can be
        imported by its name, and its arguments and what it returns can be pickled. What an executor
        owes beside that of `concurrent.futures`:

        - A worker that dies disturbs no other. The executor calls the function again with the same
          arguments in a new worker, and a warning names the first argument. A call that has lost
          three workers fails with a `RunError`.
        - If the block is left by an exception, such as KeyboardInterrupt, no call begins any more,
          and the workers' runs save and stop (`bnnlab.engine.interruption.stop_all`). `__exit__`
          waits for them.
        - If this process is killed, the workers notice it; their runs save and stop.
        """


def make_engine(host: PluginHost, choice: Choice) -> Engine:
    """Make an engine.

    Raises:
        UsageError: If it cannot be made.
    """
    made = host.load(choice.plugin, choice.component)
    try:
        engine = made(**choice.component.preset, **choice.options)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{choice} cannot be made: {explain(error)}") from error
    if not isinstance(engine, Engine):
        raise UsageError(f"{choice} is no {Engine.__module__}.{Engine.__name__}")
    if missing := {*Engine.__annotations__} - {*dir(engine)}:
        raise UsageError(f"{choice} does not say its {' and '.join(sorted(missing))}")
    return engine


def open_executor(engine: Engine, count: int) -> Executor:
    """Return an executor of an engine for at most `count` calls.

    Raises:
        RunError: If the engine fails otherwise than by an error for the user.
    """
    try:
        return engine.executor(count)
    except BnnlabError:
        raise
    except Exception as error:
        where = f"{type(engine).__module__}.{type(engine).__name__}"
        raise RunError(f"engine {where} failed at {place(error)}: {explain(error)}") from error


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


class LocalExecutor(Executor):
    """Slots with a worker process each, so that one that dies breaks its own slot alone.

    A worker lives as long as the executor and imports torch once. Each slot has a thread here that
    waits for the worker.

    Args:
        slots: How many workers there are.
    """

    def __init__(self, slots: int) -> None:
        self._told, self._tell = _SPAWN.Pipe(duplex=False)
        self._free: queue.SimpleQueue[ProcessPoolExecutor] = queue.SimpleQueue()
        for _ in range(slots):
            self._free.put(self._make_slot())
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="bnnlab-slot")

    def _make_slot(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=_SPAWN, initializer=worker.begin, initargs=(self._told,)
        )

    def submit(  # noqa: D102  # that of Executor
        self, function: Callable[..., T], /, *arguments: Any, **keywords: Any
    ) -> Future[T]:
        return self._threads.submit(self._carry_out, function, arguments, keywords)

    def _carry_out(
        self, function: Callable[..., T], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> T:
        """Call a function in the worker of a free slot; in a new worker if that one dies."""
        slot = self._free.get()
        try:
            for _ in range(ATTEMPTS):
                try:
                    done: T = slot.submit(worker.call, function, arguments, keywords).result()
                    return done
                except BrokenProcessPool:
                    slot.shutdown()
                    slot = self._make_slot()
                    if self._tell.closed:
                        raise
                    what = arguments[0] if arguments else function.__qualname__
                    log.warning("the worker of %s died: it goes on in a new one", what)
            raise RunError(f"{ATTEMPTS} workers of it died, one after another")
        finally:
            self._free.put(slot)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for all calls; after an exception, let those that run save and stop.

        Another exception meanwhile, such as a second Ctrl-C, stops them at once.
        """
        if kind is not None:
            self._tell.close()
        try:
            self.shutdown(cancel_futures=kind is not None)
        except BaseException:
            for process in active_children():
                process.terminate()
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: D102
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        while wait and not self._free.empty():
            self._free.get().shutdown()
        if wait:
            self._tell.close()
