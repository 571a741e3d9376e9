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


class Losing(Here):
    """Loses every call."""

    def executor(self, count: int) -> Executor:
        return _Losing()


class _Losing(Executor):
    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        future: Future[Any] = Future()
        future.set_exception(OSError("the queue lost it"))
        return future


class Silent(Engine):
    """Says nothing of itself, and has no executor."""

    def executor(self, count: int) -> Executor:
        raise LookupError("no queue")


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
