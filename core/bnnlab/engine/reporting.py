"""What a run says while it goes on: to its probes, its log and its checkpoints."""

from dataclasses import replace
from typing import Any

from bnnlab.engine.probes import Probes, ProbeStop
from bnnlab.engine.progress import Progress
from bnnlab.interfaces.probe import Control, Moment, Run
from bnnlab.interfaces.stream import Task


class Reporter:
    """Asks the probes, logs what they say, and stops the run where one asks for it.

    Attributes:
        control: What a probe is given to save by.
    """

    def __init__(self, run: Run, progress: Progress, control: Control, probes: Probes) -> None:
        self._probes, self._progress, self._tasks = probes, progress, len(run.tasks)
        self._control, self.log = control, control.log
        self.control = replace(control, save=self.save)

    def at(self, task: Task) -> Moment:
        """Return how far the run is."""
        return Moment(task, self._progress.epoch, self._progress.steps)

    def ask(self, moment: Any, *given: Any, only: str | None = None) -> dict[str, Any]:
        """Call a moment of the probes, see `Probes.ask`, and log their lines."""
        answers = self._probes.ask(moment, *given, only=only)
        self._log_lines()
        return answers

    def is_due(self) -> bool:
        """Return whether a checkpoint is due, also for a probe that asks the run to stop."""
        return self._probes.stop_reason is not None or self._control.is_due()

    def save(self) -> None:
        """Take a checkpoint.

        Raises:
            ProbeStop: If a probe asks for it and something is left to learn.
        """
        self._log_lines()  # of a probe that saves while it works
        self._control.save()
        if self._probes.stop_reason is not None and self._progress.task < self._tasks:
            raise ProbeStop(self._probes.stop_reason)

    def _log_lines(self) -> None:
        for line in self._probes.take_lines():
            self.log(line)
