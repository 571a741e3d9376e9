"""Which process writes to a run's folder: said by `.owner`, and looked up without the lock."""

import os
import platform
import re
import time
from contextlib import suppress
from pathlib import Path

from bnnlab.storage.files import WINDOWS

LOCK = ".lock"
OWNER = ".owner"


def this_process() -> str:
    """Return what `.owner` says of a process that locks a folder now."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {platform.node()}, since {now}"


def owner_of(folder: Path) -> str | None:
    """Return which process writes to a folder; None if none does.

    The lock is not touched: for a moment, that would keep a process that begins from taking it.
    A process of this machine is looked up; it counts while it has the lock's file open, as far as
    the system tells. Of a process on another machine, what it wrote itself is believed.
    """
    try:
        said = (folder / OWNER).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    found = re.fullmatch(r"process (\d+) on (.*), since .*", said)
    is_here = found is not None and found[2] == platform.node()
    return said if not found or not is_here or _holds(int(found[1]), folder / LOCK) else None


def _holds(process: int, lock: Path) -> bool:
    if WINDOWS:  # there, a signal would stop the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    files = Path(f"/proc/{process}/fd")
    try:
        listed = list(files.iterdir())
    except OSError:  # no such system, or not ours to see
        return True
    for file in listed:
        with suppress(OSError):  # closed in the meantime
            if file.samefile(lock):
                return True
    return False
