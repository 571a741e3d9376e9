"""Signals that end a command reach its main thread as exceptions."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import current_thread, main_thread
from types import FrameType

from bnnlab.engine.interruption import SIGNALS, stop


@contextmanager
def raising() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and SIGQUIT raise `StoppedError`, as SIGINT raises KeyboardInterrupt.

    An ignored signal stays so; outside the main thread nothing changes.
    """

    def heard(number: int, _: FrameType | None) -> None:
        raise stop(number)

    with ExitStack() as before:
        for number in SIGNALS if current_thread() is main_thread() else ():
            old = signal.getsignal(number)
            if old not in (signal.SIG_IGN, None):
                before.callback(signal.signal, number, old)
                signal.signal(number, heard)
        yield
