"""The probe of a run that belongs to a trial: it reports, and stops the run if it is pruned."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bnnlab.engine import continual
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


MEASURES: Mapping[str, Callable[[Sequence[Sequence[float | None]]], float | None]] = {
    "average_accuracy": continual.average_accuracy,
    "recent_accuracy": continual.recent_accuracy,
    "learning_accuracy": continual.learning_accuracy,
    "forgetting": continual.forgetting,
    "backward_transfer": continual.backward_transfer,
}
"""Measures that have a value after each task: that of a stream which ends there."""
AFTER_EPOCHS = frozenset({"average_accuracy", "recent_accuracy", "learning_accuracy"})
"""Those that in a stream of one task are the validation accuracy, after each epoch."""


class Pruning(Probe):
    """Reports how a run of `bnn tune` goes, and asks it to stop if its trial is pruned.

    After each task it reports the measure as if the stream ended there; in a stream of one task,
    after each epoch. `bnn tune` adds this probe. In other runs it does nothing.

    Args:
        measure: What is tuned; one of average_accuracy, recent_accuracy, learning_accuracy,
            forgetting, backward_transfer.
    """

    def __init__(self, *, measure: str = "average_accuracy") -> None:
        self._name = measure
        self._rows: list[list[float | None]] = []

    def attach(self, run: Run) -> None:
        """Note how long the run is."""
        self._tasks, self._epochs = len(run.tasks), run.epochs
        if not _reports:
            log.log(NOTE, "this run is no trial of `bnn tune`: its measure is not reported")

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        """Report the validation accuracy, if this is the only task."""
        value = metrics.get("validation_accuracy")
        if self._tasks == 1 and self._name in AFTER_EPOCHS and value is not None:
            self._report(at.epoch, value, f"epoch {at.epoch + 1} of {self._epochs}", self._epochs)

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:
        """Report the measure of the tasks so far."""
        self._rows.append([*accuracy])
        value = MEASURES[self._name](self._rows) if self._name in MEASURES else None
        if self._tasks > 1 and value is not None:
            task = at.task.index
            self._report(task, value, f"task {task + 1} of {self._tasks}", self._tasks)
        return {}

    def _report(self, step: int, value: float, after: str, steps: int) -> None:
        """Report a value; a run that is nearly over is not stopped."""
        for report in _reports[-1:]:
            if report(step, value) and step < steps - 1:
                self.stop(f"{self._name} {value:.4g} after {after}")

    def state_dict(self) -> dict[str, Any]:
        """Return the rows of the accuracy matrix so far."""
        return {"rows": self._rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self._rows = [[*row] for row in state["rows"]]
