"""The learning rates of a run, step by step."""

import copy
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

from bnnlab.errors import UsageError
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Run
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.schedule import CONSTANT
from bnnlab.registry.options import LARGEST, SMALLEST

log = logging.getLogger(__name__)

_CYCLE = 4
"""The shortest time in which a one-cycle schedule rises and falls."""


class Rates:
    """Multiplies the learning rates of an optimizer by the factor of the run's schedule.

    The factor follows from the position in the run alone, and after a step the groups have their
    own rates again. So it needs no state, and a method that changes its own rates still does.
    """

    def __init__(self, run: Run) -> None:
        self._schedule = schedule = run.policy.schedule
        self._is_constant = schedule == CONSTANT
        by_step = schedule.by == "step"
        self._times = [run.steps_of(task) if by_step else run.epochs_of(task) for task in run.tasks]
        self._per_epoch = [task.train.count_batches(run.batch_size) for task in run.tasks]
        self._steps = [run.steps_of(task) for task in run.tasks]
        self._ends = [*accumulate(self._times)]
        self._first = 0

    def alone(self, task: int) -> "Rates":
        """Return the rates of a task, for a run that has it alone, as its first one."""
        rates = copy.copy(self)
        rates._first = task
        return rates

    @property
    def change_by_step(self) -> bool:
        """Whether two steps of an epoch may have other rates."""
        return not self._is_constant and self._schedule.by == "step"

    def factor(self, task: int, epoch: int, step: int) -> float:
        """Return the factor in a step of an epoch of a task, all from 0."""
        task += self._first
        is_by_step = self._schedule.by == "step"
        return self._at(task, epoch * self._per_epoch[task] + step if is_by_step else epoch)

    def mean(self, task: int) -> float:
        """Return the root mean square of the factor over all steps of a task."""
        if self._is_constant:
            return 1.0
        task += self._first
        steps, per = self._steps[task], 1 if self._schedule.by == "step" else self._per_epoch[task]
        total = 0.0
        for time in range(self._times[task]):
            total += self._at(task, time) ** 2 * min(per, steps - time * per)
        return math.sqrt(total / steps)

    def told(self, *where: int) -> dict[str, float]:
        """Return what the metrics say of the factor in a step; nothing if it is never but 1."""
        return {} if self._is_constant else {"lr_factor": self.factor(*where)}

    @contextmanager
    def applied(self, optimizer: Optimizer, rule: LearningRule, *where: int) -> Iterator[None]:
        """Multiply the rates for a step; what the step itself does to a rate lasts."""
        factor = 1.0 if self._is_constant else self.factor(*where)
        groups = optimizer.param_groups if factor != 1 else []
        named = [(group, name) for group in groups for name in optimizer.rates if name in group]
        rates = [(group, name, group[name]) for group, name in named]
        for group, name, rate in rates:
            group[name] = rate * factor
        rule.rate_factor = factor
        try:
            yield
        finally:
            rule.rate_factor = 1.0
            for group, name, rate in rates:
                is_changed = group[name] != rate * factor
                group[name] = group[name] / factor if is_changed else rate

    def check(self, optimizer: Optimizer, rule: LearningRule) -> None:
        """Check that a run can be made at these rates; warn if they come to be 0.

        Raises:
            UsageError: If the schedule is not constant and leaves all rates as they are, a warm-up
                never ends, or a rate leaves the bounds that optimizer and rule have for it.
        """
        if self._is_constant:
            return
        self._expect_time()
        places = [(task, time) for task in range(len(self._times)) for time in self._turns(task)]
        try:
            factors = [self._at(*place) for place in places]
        except OverflowError:
            factors = [math.inf]
        self._expect_bounds(optimizer, rule, max(factors))
        smallest = min(factors) * max(group["lr"] for group in optimizer.param_groups)
        if smallest < SMALLEST:
            log.warning(
                "the schedule multiplies the learning rates by %.3g in the end: float32 rounds "
                "them to 0, and nothing is learned from there on. Let it fall less, as by "
                "schedule_by = epoch or a schedule_gamma nearer to 1",
                min(factors),
            )

    def _expect_bounds(self, optimizer: Optimizer, rule: LearningRule, factor: float) -> None:
        if factor <= 1:
            return
        says = f"the schedule multiplies the learning rates by up to {factor:.4g}"
        if factor > LARGEST:
            raise UsageError(f"{says}: lower schedule_gamma or task_decay.")
        try:
            optimizer.check_rates(factor)
            rule.check_rates(factor)
        except UsageError as error:
            raise UsageError(f"{says}: {error}") from error

    def _turns(self, task: int) -> list[int]:
        """Return times in a task between which the factor only rises or only falls."""
        most, (before, total) = self._times[task], self._place(task, 0)
        turns = (time - before for time in self._schedule.turns(total))
        return [0, *(time for time in turns if 0 < time < most), most - 1]

    def _at(self, task: int, time: int) -> float:
        return self._schedule.factor(*self._place(task, time), task)

    def _place(self, task: int, time: int) -> tuple[int, int]:
        """Return the schedule's own time at a time in a task, and how much there is of it."""
        most = self._times[task]
        if self._schedule.over == "task":
            return time, most
        return self._ends[task] - most + time, self._ends[-1]

    def _expect_time(self) -> None:
        """Refuse a schedule that changes nothing, and a warm-up that never ends."""
        schedule, by = self._schedule, self._schedule.by
        least = self._ends[-1] if schedule.over == "run" else min(self._times)
        if schedule.warmup >= least:
            raise UsageError(f"warmup = {schedule.warmup} {by}s is not below all {least} {by}s.")
        if schedule.shape == "one-cycle" and least < _CYCLE:
            raise UsageError(
                f"schedule = one-cycle has no time to rise in {least} {by}s, it needs {_CYCLE}. "
                f"Try {self._longer(least)}."
            )
        places = ((task, time) for task, most in enumerate(self._times) for time in range(most))
        factors = (schedule.factor(*self._place(*place), 0) for place in places)
        if schedule.shape != "constant" and all(factor == 1 for factor in factors):
            raise UsageError(
                f"schedule = {schedule.shape} changes no learning rate in {least} {by}s. "
                f"Try {self._longer(least)}."
            )

    def _longer(self, least: int) -> str:
        """Return what gives the schedule more than the least time that it has."""
        ways = {
            "schedule_by = step": min(self._steps) > least and self._schedule.by == "epoch",
            "schedule_over = run": self._ends[-1] > least,
        }
        return " or ".join([*(way for way, helps in ways.items() if helps), "more epochs"])
