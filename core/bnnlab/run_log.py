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
    said, level = logging.handlers.BufferingHandler(sys.maxsize), log.level
    log.addHandler(said)
    log.setLevel(min(log.getEffectiveLevel(), logging.INFO))
    try:
        yield said.buffer
    finally:
        log.setLevel(level)
        log.removeHandler(said)


@contextmanager
def written(path: Path, earlier: Iterable[logging.LogRecord] = ()) -> Iterator[None]:
    """Write to a file what the `bnnlab` loggers said earlier, and what they say inside."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(message)s"))
    for record in earlier:
        handler.handle(record)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        with suppress(OSError):  # the file system may be what failed
            handler.close()


class _LogFile(logging.FileHandler):
    """A log that ends, and says so, where its file cannot be written any more."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self in log.handlers:
            log.removeHandler(self)
            log.warning("%s ends here: %s", self.baseFilename, error.strerror)
