"""The equations of metaplastic Adam for one weight, see `bnnlab_metaplasticity.optimizer`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.families.latent import LatentOptimizer
from bnnlab.interfaces.kernels import Formulas, Functions, MakeFormulas
from bnnlab.interfaces.optimizer import Group


def binary(f: Functions) -> Formulas:
    """Return the formulas of a binary weight."""
    step, sign = f.part(_step(f)), f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        W, M, V = step(c, state[1], state[2], state[3], sums[0])
        return sign(W), W, M, V

    return Formulas(("latent", "M", "V"), learn, counts_steps=True)


def real(f: Functions) -> Formulas:
    """Return the formulas of a real weight."""
    step = f.part(_step(f))

    def learn(c: Any, state: Any, sums: Any) -> Any:
        return step(c, state[0], state[1], state[2], sums[0])

    return Formulas(("M", "V"), learn, counts_steps=True)


def _step(f: Functions) -> Callable[..., Any]:
    """Return a step; with e = exp(-2 m |W|), f_m(W) = 4 e / (1 + e)^2."""
    zero, one, two, four = f.number(0), f.number(1), f.number(2), f.number(4)
    exp, sqrt, where = f.exp, f.sqrt, f.where

    def step(c: Any, W: Any, M: Any, V: Any, g: Any) -> Any:
        s, m, beta1, beta2, eps, decay = c
        g = g + decay * W
        M = beta1 * M + (one - beta1) * g
        V = beta2 * V + (one - beta2) * g * g
        U = M / (sqrt(V) + eps)
        e = exp(-two * m * abs(W))
        U = U * where(zero < W * U, four * e / ((one + e) * (one + e)), one)
        return W - s * U, M, V

    return step


class CompilableMeta(LatentOptimizer):
    """What metaplastic Adam has for compiled loops."""

    @property
    def formulas(self) -> MakeFormulas:  # type: ignore[override]
        """The equations for one weight."""
        is_binary = all(group["binary"] for group in self.learned_groups())
        return binary if is_binary else real

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:
        """Return s, m, beta1, beta2, eps and the decay."""
        self.expect_fit(group, parameter)
        s, m = rate_of(group, group["t"] + ahead), self.state[parameter]["m"]
        return s, m, *group["betas"], group["eps"], group["weight_decay"]

    def formula_state(self, parameter: Tensor) -> Mapping[str, Tensor]:
        """Return the latent weight, if there is one, and the moments."""
        value = self.latent(parameter)
        assert value is not None
        return self.with_moments(parameter, value)

    def count_steps(self, steps: int) -> None:
        """Count steps of what is learned."""
        for group in self.learned_groups():
            group["t"] += steps

    def with_moments(self, parameter: Tensor, value: Tensor) -> dict[str, Any]:
        """Return the state of a parameter; M and V are made if they are missing."""
        state: dict[str, Any] = self.state[parameter]
        if "M" not in state:
            state["M"], state["V"] = torch.zeros_like(value), torch.zeros_like(value)
        return state

    def expect_fit(self, group: Group, parameter: Tensor) -> None:
        """Refuse an m that is not known yet, and an eps that underflows."""
        if self.state[parameter].get("m") == "auto":
            raise UsageError(
                "m='auto' needs the number of steps per task: give m a number, or call "
                "optimizer.task_started(bnnlab.TaskContext(...)) before the first step"
            )
        dtype, eps = parameter.dtype, group["eps"]
        if 0 < eps < torch.finfo(dtype).tiny:
            raise UsageError(
                f"eps {eps:g} is too small for {dtype}, where second moments underflow and steps "
                "are not finite: keep the model in float32, or give a larger optimizer.eps"
            )


def rate_of(group: Group, t: int) -> float:
    """Return s in step t."""
    beta1, beta2 = group["betas"]
    rate: float = group["lr"] * math.sqrt(1 - beta2**t) / (1 - beta1**t)
    return rate
