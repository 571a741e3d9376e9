"""What a run says while it goes on: to its probes, its log and its checkpoints."""

import time
from dataclasses import replace
from typing import Any

from bnnlab.engine.probes import Probes, ProbeStop
from bnnlab.engine.progress import Progress
from bnnlab.interfaces.probe import Control, Moment
from bnnlab.interfaces.stream import Task


class Reporter:
    """Asks the probes, logs, saves, and counts the seconds of the progress."""

    def __init__(self, progress: Progress, control: Control, probes: Probes, tasks: int) -> None:
        self._probes, self._progress, self._tasks = probes, progress, tasks
        self._save, self._is_due = control.save, control.is_due
        self.control = replace(control, save=self.save)
        self._ticked = time.perf_counter()

    def at(self, task: Task) -> Moment:
        """Return how far the run is."""
        return Moment(task, self._progress.epoch, self._progress.steps)

    def ask(self, moment: Any, *given: Any, only: str | None = None) -> dict[str, Any]:
        """Call a moment of the probes, see `Probes.ask`, and log their lines."""
        answers = self._probes.ask(moment, *given, only=only)
        for line in self._probes.take_lines():
            self.log(line)
        return answers

    def log(self, metrics: dict[str, Any]) -> None:
        """Log a line of metrics with the time spent."""
        self._tick()
        self.control.log({**metrics, "seconds": round(self._progress.seconds, 3)})

    def is_due(self) -> bool:
        """Return whether a checkpoint is due, also for a probe that asks the run to stop."""
        return self._probes.stop_reason is not None or self._is_due()

    def save(self) -> None:
        """Take a checkpoint.

        Raises:
            ProbeStop: If a probe asks for it and something is left to learn.
        """
        self._tick()
        self._save()
        self._ticked = time.perf_counter()
        if self._probes.stop_reason is not None and self._progress.task < self._tasks:
            raise ProbeStop(self._probes.stop_reason)

    def _tick(self) -> None:
        """Count the time since the last tick; a clock that was set back counts nothing."""
        now = time.perf_counter()
        self._progress.seconds += max(0.0, now - self._ticked)
        self._ticked = now
