"""A run and its trackers, seen from the training process, which never waits before the end."""

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bnnlab.engine.interruption import raising
from bnnlab.errors import NOTE, StoppedError, command
from bnnlab.storage.checkpoint import CHECKPOINT
from bnnlab.storage.folder import METRICS
from bnnlab_tracking.delivery import Delivery
from bnnlab_tracking.tracker import ENDED, count_lines

log = logging.getLogger("bnnlab.tracking")  # below `bnnlab`, which the command line shows

PATIENCE = 60.0
"""Seconds to wait at the end for a tracker that does not say its own."""
LATE = 30.0
"""Seconds that writing a run for a later upload may take."""
SOON = 2.0
"""Seconds to wait at the end before saying so."""


class Watched:
    """A run that is tracked.

    Args:
        folder: Of the run.
        trackers: Their options, by `distribution/name`.
        run_id: Of the run.
        protocol: What the protocol hash covers.
        resumed: Whether the run goes on from a checkpoint.

    Attributes:
        deliveries: The process of each tracker.
    """

    def __init__(
        self,
        folder: Path,
        trackers: Mapping[str, Mapping[str, Any]],
        run_id: str,
        protocol: Mapping[str, Any],
        *,
        resumed: bool,
    ) -> None:
        from bnnlab.interfaces.stream import protocol_hash  # imports torch, which a run has

        self._folder = folder.resolve()
        self._lines = self._first = count_lines(self._folder / METRICS)
        about = {
            "folder": str(self._folder),
            "run_id": run_id,
            "protocol": protocol,
            "protocol_hash": protocol_hash(dict(protocol)),
            "resumed": resumed,
            "saved": self._lines,
        }
        shorts = [name.rpartition("/")[2] for name in trackers]
        self.deliveries = []
        for name, options in trackers.items():
            short = name.rpartition("/")[2]
            label = short if shorts.count(short) == 1 else name
            job = {**about, "name": name, "options": dict(options), "label": label}
            self.deliveries.append(Delivery(job, options.get("patience", PATIENCE)))

    def count(self) -> None:
        """Note that a line was logged."""
        self._lines += 1

    def saved(self, file: Path) -> None:
        """Tell the trackers how many lines a checkpoint holds; notice those that have failed."""
        if file.name != CHECKPOINT.name:
            return
        for delivery in self.deliveries:
            delivery.tell(saved=self._lines)
            delivery.look()

    def end(self, status: str) -> None:
        """Wait until all is delivered, at most as long as the trackers' patience, and say how.

        Ctrl-C ends the wait.

        Raises:
            StoppedError: If another signal ended it.
        """
        try:
            with raising():
                for delivery in self.deliveries:
                    delivery.tell(ended=status)
                self._wait(self.deliveries, {each: each.patience for each in self.deliveries})
                for delivery in self.deliveries:
                    delivery.close()
                    self._say(delivery, status)
        except (KeyboardInterrupt, StoppedError) as stop:
            for delivery in self.deliveries:
                delivery.close()
                if not delivery.done:
                    self._advise(delivery)
            if isinstance(stop, StoppedError):  # the run is over; this process is told to end, too
                raise

    def _wait(self, deliveries: Iterable[Delivery], limits: Mapping[Delivery, float]) -> None:
        begun, is_said = time.monotonic(), False
        for delivery in deliveries:
            soon = begun + min(SOON, limits[delivery])
            if not is_said and not delivery.wait(soon) and limits[delivery] > SOON:
                is_said = True
                log.log(
                    NOTE,
                    "track %s: waiting for it, at most %g s; Ctrl-C leaves it",
                    delivery.label,
                    limits[delivery],
                )
            delivery.wait(begun + limits[delivery])

    def _say(self, delivery: Delivery, status: str) -> None:
        """Say how to upload what was not delivered, or not uploaded yet.

        That all is delivered is said where nothing else was there to do.
        """
        if status in ENDED:
            delivery.check(self._lines)
        if not delivery.done:
            has_died = delivery.is_warned
            delivery.warn(f"it did not end within {delivery.patience:g} s")
            if status not in ENDED:
                return  # what is missing comes when the run goes on
            if has_died and self._try_again(delivery, "again", delivery.patience, status):
                log.log(NOTE, "track %s: a second attempt delivered all", delivery.label)
            elif delivery.has_offline:
                self._try_again(delivery, "late", LATE, status)
        if delivery.later:
            log.log(_level(), "track %s: to upload it later: %s", delivery.label, delivery.later)
        elif not delivery.done:
            self._advise(delivery)
        elif self._lines == self._first:
            log.log(NOTE, "track %s: all %d lines are delivered", delivery.label, self._lines)

    def _try_again(self, delivery: Delivery, how: str, limit: float, status: str) -> bool:
        """Deliver the run in a new process: as before (`again`) or for a later upload (`late`)."""
        other = Delivery({**delivery.job, "how": how, "status": status}, limit)
        try:
            other.wait(time.monotonic() + limit)
        finally:  # Ctrl-C may end the wait
            other.close()
        other.check(self._lines)
        delivery.later = other.later
        delivery.done = other.done and how == "again"
        return delivery.done

    def _advise(self, delivery: Delivery) -> None:
        again = command("run", "--resume", self._folder)  # its run.toml names the tracker
        log.log(_level(), "track %s: to deliver what is missing: %s", delivery.label, again)


def _level() -> int:
    """Return the level of what is left to do: NOTE where notes are shown, as by `bnn`."""
    logger: logging.Logger | None = log if log.isEnabledFor(NOTE) else None
    while logger:
        shown = [it for it in logger.handlers if not isinstance(it, logging.FileHandler)]
        if any(each.level <= NOTE for each in shown):
            return NOTE
        logger = logger.parent if logger.propagate else None
    return logging.WARNING
