"""Engines: what carries out the runs of a study. No torch is imported here."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from inspect import getattr_static
from typing import Any, TypeVar

from bnnlab.errors import RunError, UsageError, explain
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import shown
from bnnlab.settings.run import Choice
from bnnlab_studies.asking import Asked, blamed

log = logging.getLogger("bnnlab.studies")  # below `bnnlab`, which the command line shows

T = TypeVar("T")

ATTEMPTS = 3
"""How many workers a call may lose before it fails."""


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
        engine = made(**choice.keywords)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{choice} cannot be made: {explain(error)}") from error
    if not isinstance(engine, Engine):
        raise UsageError(f"{choice} is no {Engine.__module__}.{Engine.__name__}")
    if missing := {*Engine.__annotations__} - {*dir(engine)}:
        names = " and ".join(sorted(missing))
        raise UsageError(f"{choice} does not say its {names}: set self.NAME in __init__")
    for name in Engine.__annotations__:
        if hasattr(getattr_static(engine, name), "__get__"):
            continue  # a property, which may have to ask a cluster
        value = getattr(engine, name)
        if type(value) is not int or value < 1:
            raise UsageError(f"{choice}: its {name} is {shown(value)}, and no whole number from 1")
    return engine


def open_executor(engine: Engine, count: int) -> Asked:
    """Return an executor of an engine for at most `count` calls.

    Raises:
        EngineError: If the engine fails otherwise than by an error for the user.
    """
    name = f"engine {type(engine).__module__}.{type(engine).__qualname__}"
    with blamed(name):
        return Asked(name, engine.executor(count))


class WorkerDied(Exception):  # noqa: N818  # what happened, to the executor alone
    """The worker of a call died."""


class RepeatingExecutor(Executor, ABC):
    """Threads of this process that each wait for a worker. A call whose worker died is made again.

    Args:
        slots: How many calls are made at a time.
    """

    def __init__(self, slots: int) -> None:
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="bnnlab-slot")

    @abstractmethod
    def attempt(self, call: Callable[[], T]) -> T:
        """Make a call in a worker, and wait for it. Called in a thread of a slot.

        Raises:
            WorkerDied: If the worker died.
            CancelledError: If the executor is about to stop.
        """

    def submit(  # noqa: D102  # that of Executor
        self, function: Callable[..., T], /, *arguments: Any, **keywords: Any
    ) -> Future[T]:
        named = arguments and not isinstance(arguments[0], Mapping)  # settings are checked
        what = arguments[0] if named else "a call"
        call = partial(function, *arguments, **keywords)
        return self._threads.submit(self._carry_out, what, call)

    def _carry_out(self, what: Any, call: Callable[[], T]) -> T:
        for left in reversed(range(ATTEMPTS)):
            try:
                return self.attempt(call)
            except WorkerDied:
                if left:
                    log.warning("the worker of %s died: it goes on in a new one", what)
        raise RunError(f"{ATTEMPTS} workers of it died, one after another")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for all calls; after an exception, let those that run save and stop."""
        self.shutdown(cancel_futures=kind is not None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: D102
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
