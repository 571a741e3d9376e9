"""The process of one tracker: started, told small words without waiting, heard, and ended."""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from bnnlab.errors import first_line
from bnnlab_tracking.tracker import own_file

log = logging.getLogger("bnnlab.tracking")

PIECE = 2**16
"""Bytes that are heard at once, and the most that a word may have."""
SOON = 2.0
"""Seconds to wait until what an ended process printed is in its file."""


class Delivery:
    """One tracker of a run. Nothing here raises or waits, but `wait`.

    Args:
        job: What the process needs to know; `bnnlab_tracking.child` reads it.
        patience: Seconds to wait for it at the end.

    Attributes:
        label: The tracker's name, for people.
        done: Whether it has delivered all.
        later: The command that uploads what it wrote; empty if none must.
        has_offline: Whether it was made, and can write for a later upload.
        is_warned: Whether a warning named its failure.
        process: None if it could not begin, and once it is closed.
    """

    def __init__(self, job: Mapping[str, Any], patience: float) -> None:
        self.job, self.patience = {**job, "patience": patience}, patience
        self.label: str = job["label"]
        self.done, self.later, self.has_offline = False, "", False
        self._lines: int | None = None
        self.is_warned = "how" in job  # the one before was named
        self._heard = b""
        self.process: subprocess.Popen[bytes] | None = None
        self._log = own_file(job["folder"], job["name"], "log")
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._begin()
        except OSError as error:
            self.warn(f"it cannot begin: {first_line(error)}")

    def _begin(self) -> None:
        path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
        with TemporaryFile(dir=self._log.parent) as job, self._log.open("ab") as log_file:
            job.write(json.dumps(self.job).encode())  # a pipe may be too small for it
            job.seek(0)
            self.process = process = subprocess.Popen(
                # -P: a module in the working directory hides no other, as in `bnn` itself
                [sys.executable, "-P", "-m", "bnnlab_tracking.child", str(job.fileno())],
                pass_fds=[job.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                bufsize=0,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # Ctrl-C is for the training process
            )
        assert process.stdin
        assert process.stdout
        os.set_blocking(process.stdin.fileno(), False)
        os.set_blocking(process.stdout.fileno(), False)

    def tell(self, **word: Any) -> None:
        """Say a small word; if the pipe is full or broken, it is dropped as a whole."""
        if self.process and self.process.stdin and not self.done:
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self.process.stdin.fileno(), json.dumps(word).encode() + b"\n")

    def look(self) -> None:
        """Hear what the process said; warn, once, if it has failed or died."""
        process = self.process
        if process is None or process.stdout is None or self.done:
            return
        code = process.poll()
        with suppress(BlockingIOError):
            self._heard += os.read(process.stdout.fileno(), PIECE)
        *lines, rest = self._heard.split(b"\n")
        self._heard = rest[-PIECE:]
        for line in lines:
            self._hear(line)
        if not self.done and code is not None:
            name = signal.strsignal(-code) if code < 0 else None
            self.warn(f"its process ended with code {code}{f' ({name})' if name else ''}")

    def _hear(self, line: bytes) -> None:
        said: Any = None
        with suppress(ValueError):
            said = json.loads(line)
        if not isinstance(said, dict):
            return  # a tracker wrote into the pipe
        if "failed" in said:
            self.warn(said["failed"])
        self.has_offline = said.get("has_offline", self.has_offline)
        self.done, self.later = said.get("done", False), said.get("later", "")
        self._lines = said.get("lines")

    def check(self, lines: int) -> None:
        """Take it for failed if it has not delivered as many lines as there are."""
        if self.done and self._lines is not None and self._lines != lines:
            self.done = False
            self.warn(f"it delivered {self._lines} lines of {lines}")

    def wait(self, until: float) -> bool:
        """Wait until all is delivered, the process has ended, or a time has come.

        Returns:
            Whether there is nothing to wait for any more.
        """
        while not (self._is_over() or time.monotonic() >= until):
            assert self.process
            assert self.process.stdout
            left = max(0.0, min(0.2, until - time.monotonic()))
            select.select([self.process.stdout], [], [], left)
            self.look()
            if not self._is_over():
                time.sleep(0.01)  # its end of the pipe may be closed, and the process not over
        return self._is_over()

    def _is_over(self) -> bool:
        return self.done or self.process is None or self.process.poll() is not None

    def close(self) -> None:
        """End the process with all that it started, if it has not ended, and its pipes."""
        self.look()
        process, self.process = self.process, None
        if process is None:
            return
        if self.done:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        if process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        with process.stdout as heard:
            until = time.monotonic() + SOON  # it ends with the process that writes what was printed
            while select.select([heard], [], [], max(0.0, until - time.monotonic()))[0]:
                if not os.read(heard.fileno(), PIECE) or time.monotonic() > until:
                    break

    def warn(self, what: str) -> None:
        """Warn that the tracker failed, once."""
        if not self.is_warned:
            self.is_warned = True
            log.warning(
                "track %s stopped: %s. The run is not affected. More is in %s",
                *(self.label, what.removesuffix("."), self._log),
            )
