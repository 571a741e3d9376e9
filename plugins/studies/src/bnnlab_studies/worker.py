"""A worker process: what it does beside the calls it is sent."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from bnnlab.engine import interruption
from bnnlab.guards.threads import wait_briefly
from bnnlab.interfaces.keeping import keeping

T = TypeVar("T")

_busy = threading.Lock()


def begin(told: "Connection[Any, Any]") -> None:
    """Prepare this process, which has run nothing yet.

    Standard output belongs to the parent. What runs log is in their log.txt, and the parent says
    it. Data are loaded once. Between runs, Ctrl-C does nothing here: it reaches all processes of a
    terminal, and the parent tells its workers what to do.

    Args:
        told: A pipe that ends when the parent wants the runs here to save and stop, and when it
            dies.
    """
    wait_briefly()
    os.dup2(2, 1)
    logging.getLogger().addHandler(logging.NullHandler())
    keeping().__enter__()
    signal.signal(signal.SIGINT, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked until here
    threading.Thread(target=_watch, args=(told,), daemon=True).start()


def _watch(told: "Connection[Any, Any]") -> None:
    with suppress(EOFError, OSError):
        told.recv()
    interruption.stop_all(signal.SIGTERM)
    parent = parent_process()
    if parent is not None:
        parent.join()
        with _busy:  # the run that it carried out has saved
            os._exit(1)


def call(called: Callable[[], T]) -> T:
    """Make a call."""
    with _busy:
        return called()
