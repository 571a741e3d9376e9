"""When a run saves within an epoch: by the clock, and when a signal stops it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import current_thread, main_thread
from types import FrameType

from bnnlab.errors import RunError, StoppedError

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    if hasattr(signal, name)
)

_everywhere: list[int] = []


def stop_all(number: int) -> None:
    """Ask all runs of this process, also those to come, to save and stop as after this signal.

    Unlike a second signal, it never stops a run at once. Any thread may call it.
    """
    _everywhere.append(number)


def stop_if_all_stop() -> None:
    """Raise what `stop_all` asked for, if it did."""
    if _everywhere:
        raise stop(_everywhere[0])


def stop(number: int) -> BaseException:
    """Return the exception with which a run ends after this signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else StoppedError(number)


@contextmanager
def raising() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and SIGQUIT raise `StoppedError`, as SIGINT raises KeyboardInterrupt.

    An ignored signal stays so; outside the main thread nothing changes.
    """

    def heard(number: int, _: FrameType | None) -> None:
        raise stop(number)

    with _heard_by(heard):
        yield


@contextmanager
def _heard_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let a function hear the signals in the main thread; an ignored one stays so."""
    with ExitStack() as before:
        for number in SIGNALS if current_thread() is main_thread() else ():
            old = signal.getsignal(number)
            if old not in (signal.SIG_IGN, None):
                before.callback(signal.signal, number, old)
                signal.signal(number, handler)
        yield


class Interruption:
    """Says when a checkpoint is due. After a signal, the run stops once it has saved.

    Args:
        minutes: Time between checkpoints.

    Attributes:
        asked: The signal that asks the run to stop; None for none.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._saved = time.monotonic()
        self.asked: int | None = None

    def stop_if_asked(self) -> None:
        """Stop the run if a signal asked for it.

        Raises:
            KeyboardInterrupt: After SIGINT (Ctrl-C).
            StoppedError: After another signal.
        """
        if self.asked is not None:
            raise stop(self.asked)
        stop_if_all_stop()

    def due(self) -> bool:
        """Return whether a checkpoint should be taken now."""
        is_asked = self.asked is not None or _everywhere
        return bool(is_asked) or time.monotonic() - self._saved >= self._seconds

    def saved(self) -> None:
        """Note that a checkpoint was taken; a signal may now stop the run."""
        self._saved = time.monotonic()
        self.stop_if_asked()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let the first signal ask to stop, and a second one stop at once.

        Only the main thread can listen. An ignored signal (SIGHUP under nohup) stays so. Worker
        processes that are forked meanwhile leave all but SIGTERM to this process.
        """
        owner = os.getpid()

        def heard(number: int, _: FrameType | None) -> None:
            if os.getpid() != owner:
                if number == signal.SIGTERM:
                    signal.signal(number, signal.SIG_DFL)
                    os.kill(os.getpid(), number)
            elif self.asked is not None:
                raise stop(number)
            else:
                self.asked = number

        with _heard_by(heard):
            try:
                yield
            except RunError:  # such as a full disk
                raise
            except Exception:
                self.stop_if_asked()  # a signal that workers were sent, too, fails their next batch
                raise
