"""What a worker of the cluster does beside the calls it is sent."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

from bnnlab.engine import interruption
from bnnlab.guards.threads import WAITING, wait_briefly
from bnnlab.interfaces.keeping import keeping

T = TypeVar("T")


def surroundings() -> dict[str, str]:
    """Return the variables of this process that a worker on any machine must have."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("BNNLAB_") or name in WAITING
    }


def call(called: Callable[[], T], place: str, variables: Mapping[str, str]) -> T:
    """Make a call as if in the process that asked for it.

    Args:
        called: The function, with its arguments.
        place: The working folder of that process; used if this machine has it.
        variables: What `surroundings` returned there.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell began the study with `&`
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray cancels a call by it
    os.environ.update(variables)
    wait_briefly()
    if Path(place).is_dir():
        os.chdir(place)
    _begin()
    return called()


@cache
def _begin() -> None:
    """Prepare this process before its first call: data are loaded once, and runs save if they can.

    If the cluster dies, as a local one does with the process that started it, Ray ends its workers
    a few seconds later.
    """
    keeping().__enter__()
    threading.Thread(target=_wait_for_the_end, args=(os.getppid(),), daemon=True).start()


def _wait_for_the_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    interruption.stop_all(signal.SIGTERM)
