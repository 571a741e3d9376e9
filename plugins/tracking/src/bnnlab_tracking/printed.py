"""What a tracker's process prints: a file that keeps its beginning and its end."""

import os
import select
import signal
import time
from contextlib import suppress
from math import inf
from os import SEEK_END
from pathlib import Path

MOST = 2**20
"""Bytes that the file may have. Of a longer one the middle is cut out."""
KEPT = 2**18
"""Bytes that are kept of its beginning, and of its end."""
CUT = b"\n[the middle is cut out: the tracker printed more than 1 MiB]\n"
PIECE = 2**16
"""Bytes that are read at once: as many as a pipe holds."""
PAUSE = 0.002
"""Seconds between two pieces, if many come: one that prints without end must not use a core."""


def begin(file: Path, told: int, limit: float) -> None:
    """Let a new process write to a file what this one prints, and what it starts.

    It has a session of its own, so that nothing that stops or kills this one's group reaches it.
    When this process has ended, in whatever way, it kills what is left of the group. If the
    training process has ended, it does so after a while, also to a process that is stopped.

    Args:
        file: Is appended to.
        told: The pipe from the training process, which nothing is read from here.
        limit: Seconds that the group may go on after the end of the training process.
    """
    printing, prints = os.pipe()
    living, lives = os.pipe()  # `lives` is never closed, and no other process keeps it
    group = os.getpid()
    if os.fork() == 0:
        try:
            os.setsid()
            os.close(prints)
            os.close(lives)
            _keep(printing, living, told, file, limit)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
            os.set_blocking(printing, False)
            with suppress(BlockingIOError):
                append(file, os.read(printing, PIECE))
        finally:
            os._exit(0)
    os.register_at_fork(after_in_child=lambda: os.close(lives))
    for mine in (printing, living):
        os.close(mine)
    for output in (1, 2):
        os.dup2(prints, output)
    os.close(prints)


def _keep(printing: int, living: int, told: int, file: Path, limit: float) -> None:
    """Write what comes down a pipe to a file, until `living` ends, or `told` did so long ago."""
    pipes, size, until = select.poll(), 0, inf
    for pipe in (printing, living):
        pipes.register(pipe, select.POLLIN)
    pipes.register(told, 0)  # its end is seen, and no word of it
    while (left := until - time.monotonic()) > 0:
        for pipe, _ in pipes.poll(None if left == inf else 1000 * left):
            if pipe == told:
                pipes.unregister(told)
                until = time.monotonic() + limit
            elif piece := os.read(pipe, PIECE):
                append(file, piece)
                size += len(piece)
            elif pipe == living:
                return
            else:
                pipes.unregister(printing)
        if size > MOST:
            time.sleep(PAUSE)


def append(file: Path, piece: bytes) -> None:
    """Append to a file, and cut the middle out if it is too long.

    A full disk, or a folder that is no longer there, loses the piece.
    """
    with suppress(OSError):
        with file.open("ab") as log:
            log.write(piece)
        if file.stat().st_size <= MOST:
            return
        with file.open("r+b") as log:
            log.seek(-KEPT, SEEK_END)
            end = log.read(KEPT)
            log.seek(KEPT)
            log.write(CUT + end)
            log.truncate()
