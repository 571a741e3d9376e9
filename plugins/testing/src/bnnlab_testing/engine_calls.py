"""What the contract of engines has carried out in worker processes, and how long it waits.

Nothing here imports torch.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from bnnlab.engine.interruption import Interruption
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import choose

BEGUN, SAVED, UNTOLD = "begun", "saved", "not told"
"""What `save_and_stop` leaves in its file."""


def die_once(file: Path) -> int:
    """End this process at the first call; return the number of calls at the next one."""
    with file.open("a") as calls:
        calls.write("called\n")
    count = len(file.read_text().splitlines())
    if count == 1:
        os._exit(3)
    return count


def count_at_once(folder: Path, enough: int) -> int:
    """Return how many of these calls there are at a time, after a second or once it is enough."""
    mine = folder / str(os.getpid())
    mine.touch()
    until = time.monotonic() + 1
    while (count := len([*folder.iterdir()])) < enough and time.monotonic() < until:
        time.sleep(0.01)
    if count < enough:
        mine.unlink()
    return count


def save_and_stop(file: Path, patience: float) -> None:
    """Go on as a run does until this process is asked to stop; then save.

    Args:
        file: Its content is `BEGUN`, then `SAVED`; `UNTOLD` if nothing asked.
        patience: Seconds to wait.
    """
    asked = Interruption(minutes=patience)
    until = time.monotonic() + patience
    with asked.listening():
        file.write_text(BEGUN)
        while not asked.due():
            if time.monotonic() > until:
                file.write_text(UNTOLD)
                return
            time.sleep(0.01)
        file.write_text(SAVED)


def hold(name: str, options: str, file: str, patience: str) -> None:
    """Have an engine carry out `save_and_stop`; this process is killed meanwhile.

    Args:
        name: The engine.
        options: Of the engine, as JSON.
        file: As in `save_and_stop`.
        patience: As in `save_and_stop`.
    """
    host = PluginHost()
    choice = choose(host, Kind.ENGINE, name, json.loads(options))
    studies = import_module("bnnlab_studies.engine")
    with studies.open_executor(studies.make_engine(host, choice), 1) as executor:
        executor.submit(save_and_stop, Path(file), float(patience)).result()


@contextmanager
def alarm(seconds: float, late: Callable[..., None]) -> Iterator[None]:
    """Call a function in the main thread after so many seconds, and again after as many."""
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
