"""The probe of a run that belongs to a trial: it reports, and stops the run if it is pruned."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bnnlab.errors import NOTE
from bnnlab.interfaces.probe import Moment, Probe, Run

log = logging.getLogger("bnnlab.optuna")

Report = Callable[[int, float], bool]
"""Tells the study a value at a step; returns whether the trial is pruned."""

_reports: list[Report] = []  # of the trial that this process carries out, if it does


@contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Let the runs of the block report."""
    _reports.append(report)
    try:
        yield
    finally:
        _reports.pop()


class Pruning(Probe):
    """Reports how a run of `bnn tune` goes, and asks it to stop if its trial is pruned.

    In a stream of one task, it reports the validation accuracy after each epoch. In a stream of
    several tasks it reports nothing: there, an early value says how well the first tasks are
    learned, not how well they are retained.

    `bnn tune` adds this probe. In other runs it does nothing.
    """

    def attach(self, run: Run) -> None:
        """Note how long the run is."""
        self._tasks, self._epochs = len(run.tasks), run.epochs_of(run.tasks[0])
        if not _reports:
            log.log(NOTE, "this run is no trial of `bnn tune`: it reports nothing")
        elif self._tasks > 1:
            log.log(NOTE, "no run is pruned: its measure is known after its last task only")

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        """Report the validation accuracy, if this is the only task; stop no run's last epoch."""
        value = metrics.get("validation_accuracy")
        if self._tasks > 1 or value is None:
            return
        for report in _reports:
            if report(at.epoch, value) and at.epoch < self._epochs - 1:
                self.stop(f"validation accuracy {value:.4g} after epoch {at.epoch + 1}")
