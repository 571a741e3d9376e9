"""The learning rates of a run, step by step."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

from bnnlab.errors import UsageError
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Run
from bnnlab.interfaces.schedule import CONSTANT

_CYCLE = 4
"""The shortest time in which a one-cycle schedule rises and falls."""


class Rates:
    """Multiplies the learning rates of an optimizer by the factor of the run's schedule.

    The factor follows from the position in the run alone, and after a step the groups have their
    own rates again. So it needs no state, and a method that changes its own rates still does.

    Raises:
        UsageError: If the schedule is not constant, and leaves all rates as they are.
    """

    def __init__(self, run: Run) -> None:
        self._schedule = schedule = run.policy.schedule
        self._is_constant = schedule == CONSTANT
        by_step = schedule.by == "step"
        self._times = [run.steps_of(task) if by_step else run.epochs_of(task) for task in run.tasks]
        self._per_epoch = [task.train.count_batches(run.batch_size) for task in run.tasks]
        self._ends = [*accumulate(self._times)]
        self._check()

    def factor(self, task: int, epoch: int, step: int) -> float:
        """Return the factor in a step of an epoch of a task, all from 0."""
        is_by_step = self._schedule.by == "step"
        return self._at(task, epoch * self._per_epoch[task] + step if is_by_step else epoch)

    def told(self, *where: int) -> dict[str, float]:
        """Return what the metrics say of the factor in a step; nothing if it is never but 1."""
        return {} if self._is_constant else {"lr_factor": self.factor(*where)}

    @contextmanager
    def applied(self, optimizer: Optimizer, *where: int) -> Iterator[None]:
        """Multiply the rates for a step; what the step itself does to a rate lasts."""
        factor = 1.0 if self._is_constant else self.factor(*where)
        rates = [(group, group["lr"]) for group in optimizer.param_groups] if factor != 1 else []
        for group, rate in rates:
            group["lr"] = rate * factor
        try:
            yield
        finally:
            for group, rate in rates:
                is_changed = group["lr"] != rate * factor
                group["lr"] = group["lr"] / factor if is_changed else rate

    def _at(self, task: int, time: int) -> float:
        if self._schedule.over == "task":
            return self._schedule.factor(time, self._times[task], task)
        before = self._ends[task] - self._times[task]
        return self._schedule.factor(before + time, self._ends[-1], task)

    def _check(self) -> None:
        """Refuse a schedule that changes nothing, and a warm-up that never ends."""
        schedule, by = self._schedule, self._schedule.by
        least = self._ends[-1] if schedule.over == "run" else min(self._times)
        if schedule.warmup >= least:
            raise UsageError(f"warmup = {schedule.warmup} {by}s is not below all {least} {by}s.")
        if schedule.shape == "one-cycle" and least < _CYCLE:
            raise UsageError(
                f"schedule = one-cycle has no time to rise in {least} {by}s, it needs {_CYCLE}. "
                "Try schedule_by = step, or schedule_over = run."
            )
        places = ((task, time) for task, most in enumerate(self._times) for time in range(most))
        factors = (self._at(*place) / schedule.task_decay ** place[0] for place in places)
        if schedule.shape != "constant" and all(factor == 1 for factor in factors):
            raise UsageError(
                f"schedule = {schedule.shape} changes no learning rate in {least} {by}s. Try "
                "schedule_by = step, or schedule_over = run."
            )
