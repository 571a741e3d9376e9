"""What the `bnnlab` loggers say of a run, before there is a folder for it and in its log.txt."""

import logging
import logging.handlers
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bnnlab.errors import LogFormatter

log = logging.getLogger("bnnlab")


@contextmanager
def hear() -> Iterator[list[logging.LogRecord]]:
    """Collect what the `bnnlab` loggers say, from INFO on, before there is a folder for it."""
    said = logging.handlers.BufferingHandler(sys.maxsize)
    with _told(said):
        yield said.buffer


@contextmanager
def written(path: Path, earlier: Iterable[logging.LogRecord] = ()) -> Iterator[None]:
    """Write to a file what the `bnnlab` loggers said earlier, and what they say inside."""
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
    """Tell a handler all from INFO on; loggers above are told what they were told without it."""
    _upwards.enter()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        _upwards.leave()


class _Upwards(logging.Handler):
    """Stands for the loggers above `bnnlab`, down to standard error where nobody listens.

    Runs of one process may begin and end in any order, in threads: the last one puts things back.
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
    """A log that ends, and says so, where its file cannot be written any more."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self in log.handlers:
            log.removeHandler(self)
            log.warning("%s ends here: %s", self.baseFilename, error.strerror)
