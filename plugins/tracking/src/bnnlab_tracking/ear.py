"""What the training process says, heard by a thread."""

import json
import os
import select
import threading

from bnnlab_tracking.tracker import Status

LOOK = 2.0
"""Seconds between two looks whether the parent lives, where its pipe does not say so."""


class Ear:
    """Hears the words that come down a pipe.

    Args:
        pipe: File descriptor.
        saved: Lines of metrics.jsonl that are in a checkpoint already.
        status: Of a run that has ended; None if words will say it.
    """

    def __init__(self, pipe: int, saved: int, status: Status | None) -> None:
        self._pipe, self._saved, self._status = pipe, saved, status
        self._news, self._parent = threading.Condition(), os.getppid()
        threading.Thread(target=self._listen, daemon=True).start()

    def wait(self, known: int) -> tuple[int, Status | None]:
        """Wait until more lines than `known` are saved or the run has ended; return both."""
        with self._news:
            self._news.wait_for(lambda: self._saved > known or self._status)
            return self._saved, self._status

    def _listen(self) -> None:
        rest = b""
        while self._status is None:
            if not select.select([self._pipe], [], [], LOOK)[0]:
                if os.getppid() != self._parent:
                    self._hear("crashed")
                continue
            piece = os.read(self._pipe, 65536)
            if not piece:
                self._hear("crashed")
            *words, rest = (rest + piece).split(b"\n")
            for word in map(json.loads, words):
                self._hear(word.get("ended"), word.get("saved", 0))

    def _hear(self, status: Status | None, saved: int = 0) -> None:
        with self._news:
            self._status = status or self._status
            self._saved = max(self._saved, saved)
            self._news.notify_all()
