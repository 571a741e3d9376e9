"""log.txt: the messages of the `bnnlab` loggers, also those from before the folder exists."""

import logging
import logging.handlers
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bnnlab.errors import LogFormatter

log = logging.getLogger("bnnlab")
_threads: list[int] = []
"""The threads in which runs are heard, as often as they are."""
_turns: dict[int, object] = {}
"""Of threads that make several runs in turn: the run whose turn it is."""


@contextmanager
def turn(run: object) -> Iterator[None]:
    """Let only this run hear the messages of this thread; outside the block all its runs do."""
    own = threading.get_ident()
    _turns[own] = run
    try:
        yield
    finally:
        del _turns[own]


@contextmanager
def hear() -> Iterator[list[logging.LogRecord]]:
    """Collect the messages of the `bnnlab` loggers, from INFO on, while the block runs.

    They are for log.txt, which does not exist before the run has its folder.
    """
    said = logging.handlers.BufferingHandler(sys.maxsize)
    with _told(said):
        yield said.buffer


@contextmanager
def written(path: Path, earlier: Iterable[logging.LogRecord] = ()) -> Iterator[None]:
    """Write earlier messages of the `bnnlab` loggers to a file, and those of the block."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(message)s"))
    for record in earlier:
        handler.handle(record)
    try:
        with _told(handler):
            yield
    finally:
        with suppress(OSError):  # the file system may be what failed
            handler.close()


@contextmanager
def _told(handler: logging.Handler) -> Iterator[None]:
    """Send all messages from INFO on to a handler; loggers above get what they got before.

    Those of a thread in which another run is heard are left out, and those of another run's turn.
    """
    own = threading.get_ident()
    mine = _turns.get(own)

    def is_ours(record: logging.LogRecord) -> bool:
        if record.thread == own:
            return _turns.get(own, mine) is mine
        return record.thread not in _threads

    handler.addFilter(is_ours)
    _upwards.enter()
    _threads.append(own)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        _threads.remove(own)
        _upwards.leave()


class _Upwards(logging.Handler):
    """Forwards to the loggers above `bnnlab`; if none handles a message, to standard error.

    Runs of several threads may start and end in any order: the last one restores the loggers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._runs, self._counting = 0, threading.Lock()

    def enter(self) -> None:
        with self._counting:
            self._runs += 1
            if self._runs > 1:
                return
            self._before, self._alone = (log.level, log.propagate), not log.hasHandlers()
            self.setLevel(log.getEffectiveLevel())
            log.setLevel(min(self.level, logging.INFO))
            if log.propagate:
                log.propagate = False
                log.addHandler(self)

    def leave(self) -> None:
        with self._counting:
            self._runs -= 1
            if self._runs == 0:
                level, log.propagate = self._before
                log.setLevel(level)
                log.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if log.parent and (self._alone or log.parent.hasHandlers()):
            log.parent.callHandlers(record)


_upwards = _Upwards()


class _LogFile(logging.FileHandler):
    """A log file that stops with a message when it cannot be written any more."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self in log.handlers:
            log.removeHandler(self)
            log.warning("%s ends here: %s", self.baseFilename, error.strerror)
