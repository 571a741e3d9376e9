"""What a tracker's process prints: a file that keeps its beginning and its end."""

import threading
import time
from contextlib import suppress
from os import SEEK_END
from pathlib import Path

MOST = 2**20
"""Bytes that the file may have. Of a longer one the middle is cut out."""
KEPT = 2**18
"""Bytes that are kept of its beginning, and of its end."""
CUT = b"\n[the middle is cut out: the tracker printed more than 1 MiB]\n"
LOOK = 0.1
"""Seconds between two looks at its size."""


def watch(file: Path) -> None:
    """Cut a file, whenever it is too long, until this process ends."""

    def look() -> None:
        while True:
            cut(file)
            time.sleep(LOOK)

    threading.Thread(target=look, daemon=True).start()


def cut(file: Path) -> None:
    """Cut the middle out of a file that is too long. Others may append to it meanwhile."""
    with suppress(OSError):
        if file.stat().st_size <= MOST:
            return
        with file.open("r+b") as log:
            log.seek(-KEPT, SEEK_END)
            end = log.read(KEPT)
            log.seek(KEPT)
            log.write(CUT + end)
            log.truncate()
