"""What the `bnnlab` loggers say of a run, before there is a folder for it and in its log.txt."""

import logging
import logging.handlers
import sys
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
    level, propagate, upwards = log.level, log.propagate, _Upwards()
    if propagate:
        log.propagate = False
        log.addHandler(upwards)
    log.addHandler(handler)
    log.setLevel(min(log.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        log.setLevel(level)
        log.propagate = propagate
        log.removeHandler(handler)
        log.removeHandler(upwards)


class _Upwards(logging.Handler):
    """Stands for the loggers above `bnnlab`, down to standard error where nobody listens."""

    def __init__(self) -> None:
        super().__init__(log.getEffectiveLevel())
        self._alone = not log.hasHandlers()

    def emit(self, record: logging.LogRecord) -> None:
        if log.parent and (self._alone or log.parent.hasHandlers()):
            log.parent.callHandlers(record)


class _LogFile(logging.FileHandler):
    """A log that ends, and says so, where its file cannot be written any more."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self in log.handlers:
            log.removeHandler(self)
            log.warning("%s ends here: %s", self.baseFilename, error.strerror)
