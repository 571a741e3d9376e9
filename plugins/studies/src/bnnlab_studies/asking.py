"""The calls that an engine is asked for, and its mistakes. No torch is imported here."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar

from bnnlab.errors import BnnlabError, explain, place
from bnnlab.registry.options import shown

log = logging.getLogger("bnnlab.studies")

T = TypeVar("T")


class EngineError(BnnlabError):
    """An engine did not do what an engine owes. Exit code 1."""


@contextmanager
def blamed(engine: str) -> Iterator[None]:
    """Turn an exception here into an `EngineError`, unless it is an error for the user."""
    try:
        yield
    except BnnlabError:
        raise
    except Exception as error:
        raise EngineError(f"{engine} failed at {place(error)}: {explain(error)}") from error


@dataclass(frozen=True)
class _Answer:
    number: int
    value: Any


def _numbered(*about: Any) -> _Answer:
    """Make a call in the worker: its arguments, the function, and its number."""
    *arguments, function, number = about  # a warning of the executor names the first argument
    return _Answer(number, function(*arguments))


class Asked:
    """An executor of an engine. What it does wrong is an `EngineError` that names the engine.

    Args:
        engine: The engine in messages.
        executor: What its `executor()` returned.
    """

    def __init__(self, engine: str, executor: Executor) -> None:
        if not isinstance(executor, Executor):
            what = f"executor() returned {shown(executor)}, and no concurrent.futures.Executor"
            raise EngineError(f"{engine}: {what}")
        self._engine, self._executor = engine, executor
        self._numbers = count()

    def __enter__(self) -> "Asked":
        with blamed(self._engine):
            self._executor.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        try:
            with blamed(self._engine):
                self._executor.__exit__(kind, *rest)
        except BnnlabError as error:
            if kind is None:
                raise
            log.warning("%s", error)  # what ended the block is raised

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Ask for a call.

        Returns:
            What has the call's result; an `EngineError` if the engine answers with something else.

        Raises:
            EngineError: If the engine does not take the call.
        """
        number, given = next(self._numbers), Future[T]()
        with blamed(self._engine):
            asked = self._executor.submit(_numbered, *arguments, function, number)
        if not isinstance(asked, Future):
            what = f"submit() returned {shown(asked)}, and no concurrent.futures.Future"
            raise EngineError(f"{self._engine}: {what}")
        asked.add_done_callback(partial(self._pass_on, number, given))
        return given

    def _pass_on(self, number: int, given: Future[T], asked: Future[_Answer]) -> None:
        if asked.cancelled():
            given.cancel()
            given.set_running_or_notify_cancel()
        elif error := asked.exception():
            given.set_exception(error)
        elif not isinstance(answer := asked.result(), _Answer):
            what = f"a call was answered {shown(answer)}, and not what it returned"
            given.set_exception(EngineError(f"{self._engine}: {what}"))
        elif answer.number != number:
            what = "a call was given the result of another call"
            given.set_exception(EngineError(f"{self._engine}: {what}"))
        else:
            given.set_result(answer.value)
