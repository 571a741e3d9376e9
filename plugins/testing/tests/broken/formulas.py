"""Optimizers with formulas for compiled loops that are not what their steps compute."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnlab.families.posterior import BernoulliOptimizer
from bnnlab.families.summed_draws import SummedDraws
from bnnlab.interfaces.kernels import Formulas, Functions
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from broken import found_by, optimizers, right

COMPUTE = "test_its_formulas_are_what_its_steps_compute"
DRAW = "test_its_formulas_draw_from_the_same_distribution"
LOOPS = "test_compiled_loops_compute_its_formulas"


def descent(f: Functions) -> Formulas:
    """W <- W - lr g."""
    sign = f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        latent = state[1] - c[0] * sums[0]
        return sign(latent), latent

    return Formulas(("latent",), learn)


@right(COMPUTE, LOOPS)
class Fine(optimizers.Fine):
    """Has formulas."""

    formulas = descent

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:
        return (group["lr"],)


@found_by(COMPUTE, "by its formulas, ")
class KeepsTheFirstRate(optimizers.Fine):
    """Its numbers do not follow the learning rate."""

    formulas = descent
    first = 0.0

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:
        self.first = self.first or group["lr"]
        return (self.first,)


def by_comparison(f: Functions) -> Formulas:
    """W <- W - lr sign(g), where -0 has the sign of 0."""
    zero, one, sign, where = f.number(0), f.number(1), f.sign, f.where

    def learn(c: Any, state: Any, sums: Any) -> Any:
        latent = state[1] - c[0] * where(sums[0] >= zero, one, -one)
        return sign(latent), latent

    return Formulas(("latent",), learn)


@found_by(COMPUTE, "by its formulas, ")
class TakesZeroForPositive(Fine):
    """Its own step takes the sign bit."""

    formulas = by_comparison

    def update(
        self, group: Group, _parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        for value, grad in zip(values, grads, strict=True):
            value.sub_(torch.copysign(torch.ones_like(grad), grad), alpha=group["lr"])


@found_by(COMPUTE, "by its formulas, .* is up to")
class LearnsHalf(Fine):
    """Learns half as fast as its formulas say."""

    formulas = Fine.formulas

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad / 2 if "latent" in self.state[parameter] else grad


@found_by(COMPUTE, "has let self.kernels learn 0 of")
class LeavesThemOut(Fine):
    """Makes its own steps, whatever the kernels are."""

    formulas = Fine.formulas

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        kernels, self.kernels = self.kernels, None
        try:
            return super().step(closure)
        finally:
            self.kernels = kernels


@found_by(COMPUTE, "say `counts_steps` where")
class CountsInSilence(Fine):
    """Learns slower in each step, and does not say so."""

    formulas = Fine.formulas

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:
        group["told"] = group.get("told", 0) + 1
        return (group["lr"] / group["told"],)


def tiny(f: Functions) -> Formulas:
    """Square numbers that are squares of nothing in float32."""
    tiny, huge, sqrt, sign = f.number(1e-25), f.number(1e25), f.sqrt, f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        change = tiny * sums[0]
        size = huge * sqrt(change * change)
        latent = state[1] - c[0] * size * sign(sums[0])
        return sign(latent), latent

    return Formulas(("latent",), learn)


@found_by(LOOPS, "by its formulas, .* is up to")
class Underflows(Fine):
    """Has formulas that are right in float64 alone."""

    formulas = tiny


def hard(f: Functions) -> Formulas:
    """Draw signs with P(w = +1) = sigmoid(lambda), not of twice that."""
    one, exp, where, sign = f.number(1), f.exp, f.where, f.sign

    def draw(_c: Any, state: Any, u: Any) -> Any:
        e = exp(state[1])
        w = where(u * (one + e) < e, one, -one)
        return w, w

    def learn(c: Any, state: Any, sums: Any) -> Any:
        value = state[1] - c[0] * sums[0]
        return sign(value), value

    return Formulas(("lambda",), learn, draw)


@found_by(DRAW, r"Kolmogorov")
class DrawsOtherwise(SummedDraws, BernoulliOptimizer):
    """Draws other weights than its formulas say."""

    provides = ["posterior"]
    declared = optimizers.Fine.declared
    formulas = hard

    def __init__(self, model: Model, *, lr: float = 0.05, **given: Any) -> None:
        super().__init__(model, lr=lr, lambda_init=2.0, **given)

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:
        return (group["lr"],)

    def draws(self, group: Group, parameter: Tensor, count: int) -> tuple[Tensor, Tensor]:
        rho = self.rho(parameter, count)
        weights = torch.copysign(torch.ones(()), rho)
        return weights, weights

    def terms(self, noise: Tensor, grads: Tensor) -> tuple[Tensor, ...]:
        return (grads,)

    def learn(self, group: Group, parameter: Tensor, sums: Sequence[Tensor], count: int) -> None:
        self.state[parameter]["lambda"].sub_(sums[0], alpha=group["lr"])
        self.write(parameter)
