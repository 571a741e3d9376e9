"""An engine for tests, in this process."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from typing import Any

from bnnlab.interfaces.keeping import kept
from bnnlab_studies.engine import Engine

_loads = count()


@kept
def loads_before() -> int:
    """Return how often this process has loaded; it loads once where data are kept."""
    return next(_loads)


class Here(Engine):
    """Calls each function at once."""

    threads = jobs = 1

    def executor(self, count: int) -> Executor:
        return _Here()


class Faulty(Here):
    """Makes one mistake.

    Args:
        executor: What its executor is.
        submitted: What a call's future is; else it is `Here`'s.
        left: What the end of the block raises.
    """

    def __init__(
        self,
        executor: Any = ...,
        submitted: Callable[[], Any] | None = None,
        left: Exception | None = None,
    ) -> None:
        self.made, self.submitted, self.left = executor, submitted, left

    def executor(self, count: int) -> Executor:
        made: Executor = _Faulty(self) if self.made is ... else self.made
        return made


class _Faulty(Executor):
    def __init__(self, engine: Faulty) -> None:
        self.engine = engine

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        if self.engine.submitted:
            return self.engine.submitted()
        return _Here().submit(function, *arguments, **keywords)

    def __exit__(self, *_: object) -> None:
        if self.engine.left:
            raise self.engine.left


def ended(value: Any) -> Future[Any]:
    """Return a future that has its value, or its exception."""
    future: Future[Any] = Future()
    (future.set_exception if isinstance(value, Exception) else future.set_result)(value)
    return future


class Silent(Engine):
    """Says nothing of itself, and has no executor."""

    def executor(self, count: int) -> Executor:
        raise LookupError("no queue")


class Counted(Here):
    """Takes any number of jobs."""

    def __init__(self, jobs: int | str | bool = 1) -> None:
        self.jobs: Any = jobs


class Plain(Engine):
    """Processes of the standard library, which know nothing of runs."""

    threads = jobs = 1

    def executor(self, count: int) -> Executor:
        return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


class _Here(Executor):
    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:
            future.set_exception(error)
        return future
