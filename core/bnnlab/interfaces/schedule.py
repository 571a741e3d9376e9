"""Learning-rate schedules: the factor of the learning rates at each epoch or step."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

_RISE = 0.3
"""Share of the time in which one-cycle rises."""

Shape = Literal["constant", "cosine", "step", "multistep", "exponential", "one-cycle"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What the learning rates of all groups are multiplied by, over a task or a run.

    Time is counted in epochs or in steps, see `by`. Let t be the time since the warm-up, T how much
    there is of it, and g be `gamma`. Of W = `warmup` the factor at time i is (i + 1) / W. Then it
    is

    - constant: 1
    - cosine: (1 + cos(pi t / T)) / 2
    - step: g^n, where n = floor(t / `every`)
    - multistep: g^n, where n counts the times in `at` that are over
    - exponential: g^t
    - one-cycle: from 1/25 to 1 in the first 30 % of T, then to 1/250000, both as cosines

    The factor in task i, from 0, is also multiplied by `task_decay`^i.

    Attributes:
        shape: Its name.
        over: Whether it begins again in each task, or goes over the whole run.
        by: Unit of time.
        warmup: W.
        every: Time between two changes of `step`.
        at: Times of the changes of `multistep`.
        gamma: g.
        task_decay: Factor per task.

    Source: the schedules of `torch.optim.lr_scheduler`, with their defaults.
    """

    shape: Shape = "constant"
    over: Literal["task", "run"] = "task"
    by: Literal["epoch", "step"] = "epoch"
    warmup: int = 0
    every: int = 1
    at: Sequence[int] = ()
    gamma: float = 0.1
    task_decay: float = 1.0

    def factor(self, time: int, total: int, task: int) -> float:
        """Return the factor at a time from 0 to total - 1, in a task."""
        return self.task_decay**task * self._within(time, total)

    def turns(self, total: int) -> list[int]:
        """Return times between which the factor only rises or only falls, the first and last too.

        Times are from 0 to total - 1. What `task_decay` adds is left out.
        """
        peak = self.warmup + int(_RISE * (total - self.warmup)) - 1
        found = {0, self.warmup - 1, self.warmup, peak, peak + 1, total - 1}
        return sorted(time for time in found if 0 <= time < total)

    def _within(self, time: int, total: int) -> float:
        if time < self.warmup:
            return (time + 1) / self.warmup
        return _FACTORS[self.shape](self, time - self.warmup, total - self.warmup)


def _cosine(_: Schedule, t: int, total: int) -> float:
    return _between(1, 0, t / total)


def _one_cycle(_: Schedule, t: int, total: int) -> float:
    rises = _RISE * total - 1
    if t <= rises:
        return _between(1 / 25, 1, t / rises)
    return _between(1, 1 / 25 / 1e4, (t - rises) / (total - 1 - rises))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


_FACTORS: Mapping[Shape, Callable[[Schedule, int, int], float]] = {
    "constant": lambda *_: 1.0,
    "cosine": _cosine,
    "step": lambda its, t, _: its.gamma ** (t // its.every),
    "multistep": lambda its, t, _: its.gamma ** bisect_right(sorted(its.at), t),
    "exponential": lambda its, t, _: its.gamma**t,
    "one-cycle": _one_cycle,
}
CONSTANT = Schedule()
"""The factor is always 1."""
