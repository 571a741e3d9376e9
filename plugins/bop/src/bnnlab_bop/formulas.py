"""Bop's equations for one weight, see `bnnlab_bop.optimizer`; with the flips, counted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.elementwise import Room
from bnnlab.interfaces.kernels import Formulas, Functions, MakeFormulas
from bnnlab.interfaces.optimizer import Group, Optimizer


def average(f: Functions) -> Formulas:
    """Return the formulas of the form "average"."""
    zero, one, two, where = f.number(0), f.number(1), f.number(2), f.where

    def learn(c: Any, state: Any, sums: Any) -> Any:
        w, m, flipped = state
        m = m + c[0] * (sums[0] - m)
        flip = where(w * m > c[1], one, zero)
        return w - two * w * flip, m, flipped + flip

    return Formulas(("m", "flipped"), learn, counts_steps=True)


def accumulator(f: Functions) -> Formulas:
    """Return the formulas of the form "accumulator"."""
    zero, one, two, where = f.number(0), f.number(1), f.number(2), f.where

    def learn(c: Any, state: Any, sums: Any) -> Any:
        w, a, flipped = state
        a = (one - c[0]) * a + sums[0]
        flip = where(w * a > c[1], one, zero)
        return w - two * w * flip, a, flipped + flip

    return Formulas(("a", "flipped"), learn, counts_steps=True)


class CompilableBop(Optimizer):
    """What Bop has for compiled loops."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._room = Room()

    @property
    def formulas(self) -> MakeFormulas:  # type: ignore[override]
        """The equations for one weight."""
        is_average = all(group["form"] == "average" for group in self.learned_groups())
        return average if is_average else accumulator

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:  # noqa: ARG002
        """Return gamma, and the limit beyond which weights flip."""
        if not ahead:
            now = self.numbers_now(group)
            return float(now["lr"]), float(now["limit"])
        later = dict(group)
        for _ in range(ahead - 1):
            lower_rates([later])
        return later["lr"], limit_of(later)

    def formula_state(self, parameter: Tensor) -> Mapping[str, Tensor]:
        """Return the average, and room in which flips are counted, of 0."""
        flipped = self._room("flipped", parameter, 1)[0].zero_()
        return {**self.state[parameter], "flipped": flipped}

    def count_steps(self, steps: int) -> None:
        """Count steps and their flips, and go down the staircases."""
        for _ in range(steps):
            for group in self.learned_groups():
                self.step_numbers(group)
            lower_rates(self.param_groups)
        for parameter in self.learned():
            self._count_flips(parameter)

    def learn_compiled(self, group: Group, parameter: Tensor, grad: Tensor) -> None:
        """Let the kernels flip weights, and count the flips."""
        assert self.kernels is not None
        self.kernels.learn(self, group, parameter, [grad])
        self._count_flips(parameter)

    def _count_flips(self, parameter: Tensor) -> None:
        """Count what the kernels have flipped."""
        (flipped,) = self._room("flipped", parameter, 1)
        self.state[parameter]["flips"].add_(flipped.sum(dtype=torch.float64).long())


def limit_of(group: Group) -> float:
    """Return what an average, or accumulator, must exceed for a flip."""
    limit, gamma = float(group["threshold"]), group["lr"]
    if group["form"] == "accumulator":  # a scheduler may end at 0, where m stands still
        limit = limit / gamma if gamma else math.inf
    return limit


def lower_rates(groups: list[Group]) -> None:
    """Count a step, and go down the staircases."""
    for group in groups:
        for lr in ("gamma", "scale_lr"):
            if f"{lr}_decay" in group:
                group["t"] += 1
                if group["t"] % group[f"{lr}_decay_steps"] == 0:
                    group["lr"] *= group[f"{lr}_decay"]
