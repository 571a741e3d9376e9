"""BayesBiNN's equations for one weight, see `bnnlab_bayesbinn.optimizer`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnlab.families.posterior import BernoulliOptimizer
from bnnlab.families.summed_draws import SummedDraws
from bnnlab.interfaces.kernels import Formulas, Functions, MakeFormulas
from bnnlab.interfaces.optimizer import Group

LARGEST_LAMBDA = 1e6
"""|lambda| is kept below this. P(w) is exactly 0 or 1 in float32 from 52 on."""

LARGEST_DRAWN = 37.0
"""A draw, and its derivative, are those at a |lambda| of no more than this.

There P(w) is within 1e-32 of 0 or 1, and float32 still has the derivatives. The size of the noise
is at most 8.4, so no draw has another sign.
"""

_LARGEST_TERM = 1e18  # of dw/dmu times a gradient; beyond it lambda is at its bound anyway


def sign(f: Functions) -> Formulas:
    """Return the formulas of mode "sign"."""
    one, sign = f.number(1), f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        value = (one - c[0]) * state[1] - c[0] * sums[0]
        return sign(value), value

    return Formulas(("lambda",), learn)


def posterior(f: Functions) -> Formulas:
    """Return the formulas of mode "posterior"."""
    natural, clip, sign = f.part(_natural(f)), f.clip, f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        value, prior = state[1], state[2]
        value = clip(value - c[5] * natural(c, value, prior, sums[0]), -c[6], c[6])
        return sign(value), value, prior

    return _drawn(f, ("lambda", "prior"), learn)


def averaged(f: Functions) -> Formulas:
    """Return those of mode "posterior" with momentum."""
    one, natural, clip, sign = f.number(1), f.part(_natural(f)), f.clip, f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        value, prior, m = state[1], state[2], state[3]
        m = m + (one - c[4]) * (natural(c, value, prior, sums[0]) - m)
        value = clip(value - c[5] * m, -c[6], c[6])
        return sign(value), value, prior, m

    return _drawn(f, ("lambda", "prior", "m"), learn, counts_steps=True)


def _natural(f: Functions) -> Callable[..., Any]:
    """Return the gradient by mu of the loss and the divergence; 1 - mu^2 = 4 e / (1 + e)^2."""
    zero, one, two, exp, clip = f.number(0), f.number(1), f.number(2), f.exp, f.clip
    most = f.number(LARGEST_DRAWN)

    def natural(c: Any, value: Any, prior: Any, total: Any) -> Any:
        e = exp(-two * abs(clip(value, -most, most)))
        by_mean = clip(total * (one + e) * (one + e) / e, -c[2], c[2])
        # The product with 0 is NaN where a gradient is infinite.
        return c[1] * by_mean + zero * total + c[3] * (value - prior)

    return natural


def _drawn(f: Functions, states: tuple[str, ...], learn: Any, **more: Any) -> Formulas:
    """Return formulas with relaxed draws, and p = sigmoid(-2 |rho| / tau)."""
    one, two, most = f.number(1), f.number(2), f.number(LARGEST_DRAWN)
    exp, logit, clip, sign = f.exp, f.logit, f.clip, f.sign

    def draw(c: Any, state: Any, u: Any) -> Any:
        rho = logit(u) + two * clip(state[1], -most, most)  # twice it
        e = exp(-abs(rho) / c[0])
        p = e / (one + e)
        return sign(rho) * (one - two * p), p

    def terms(p: Any, g: Any) -> Any:
        return ((p - p * p) * g,)

    return Formulas(states, learn, draw, keeps_noise=True, terms=terms, **more)


class CompilableBayesBiNN(SummedDraws, BernoulliOptimizer):
    """What BayesBiNN has for compiled loops."""

    mode: str
    prior: str

    @property
    def formulas(self) -> MakeFormulas | None:  # type: ignore[override]
        """The equations for one weight; None without draws."""
        if self.mode == "sign":
            return sign
        if not self.train_draws:
            return None
        return averaged if self._averages() else posterior

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:
        """Return tau, factor, largest term, kappa, beta, the step and the bound of lambda."""
        if self.mode == "sign":
            return (group["lr"],)
        factor, largest, bound = self.scale(group, parameter.dtype, self.train_draws)
        beta, kappa = group["momentum"], self.kappa(group)
        step = group["lr"] / (1 - beta ** (group["t"] + ahead))
        return group["temperature"], factor, largest, kappa, beta, step, bound

    def formula_state(self, parameter: Tensor) -> Mapping[str, Tensor]:
        """Return what is kept, with a prior of 0 before there is another."""
        state = self.state[parameter]
        names = {"prior": self.mode == "posterior", "m": self._averages()}
        for name in (name for name, is_kept in names.items() if is_kept and name not in state):
            state[name] = torch.zeros_like(state["lambda"])
        return state

    def count_steps(self, steps: int) -> None:
        """Count steps of mode "posterior"."""
        for group in self.learned_groups() if self.mode == "posterior" else ():
            group["t"] += steps

    def _averages(self) -> bool:
        return any(group["momentum"] for group in self.learned_groups())

    def kappa(self, group: Group) -> float:
        """Return the weight of the pull to the prior."""
        kappa: float = 0.0 if self.prior == "none" else group["prior_precision"]
        return kappa

    def scale(self, group: Group, dtype: torch.dtype, count: int) -> tuple[float, float, float]:
        """Return the factor of a sum, its largest size before that, and the bound of lambda."""
        tau = group["temperature"] if self.train_draws else 1.0
        factor = self.count(group, "examples") / (tau * count)
        finfo = torch.finfo(dtype)  # of float16, 65504
        largest = min(_LARGEST_TERM, finfo.max / (4 * max(1.0, factor)))
        return factor, largest, min(LARGEST_LAMBDA, finfo.max)
