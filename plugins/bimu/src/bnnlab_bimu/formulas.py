"""BiMU's equations for one weight, see `bnnlab_bimu.optimizer`.

With e = exp(2 lambda), P(w = +1) = e / (1 + e), and tanh(lambda) = (e - 1) / (e + 1). A relaxed
draw with tau = 1 is tanh(rho) = (e u - (1 - u)) / (e u + (1 - u)).
"""

from collections.abc import Callable, Sequence
from typing import Any

from bnnlab.interfaces.kernels import Formulas, Functions, MakeFormulas


def of(draws_are_hard: bool, taus: Sequence[float]) -> MakeFormulas:
    """Return what makes the formulas of these draws, relaxed ones with these temperatures."""
    if draws_are_hard:
        return hard
    return relaxed if all(tau == 1 for tau in taus) else tempered


def relaxed(f: Functions) -> Formulas:
    """Return the formulas of relaxed draws with tau = 1."""
    one, two, exp = f.number(1), f.number(2), f.exp

    def draw(_c: Any, state: Any, u: Any) -> Any:
        plus, minus = exp(two * state[1]) * u, one - u
        w = (plus - minus) / (plus + minus)
        return w, w

    return _at_relaxed(f, draw)


def tempered(f: Functions) -> Formulas:
    """Return the formulas of relaxed draws with any tau."""
    one, two, exp, logit = f.number(1), f.number(2), f.exp, f.logit

    def draw(c: Any, state: Any, u: Any) -> Any:
        e = exp((two * state[1] + logit(u)) / c[0])
        w = (e - one) / (e + one)
        return w, w

    return _at_relaxed(f, draw)


def _at_relaxed(f: Functions, draw: Callable[..., Any]) -> Formulas:
    """Return the formulas of relaxed draws, by which tau dw/dlambda is 1 - w^2."""
    one = f.number(1)

    def terms(w: Any, g: Any) -> Any:
        return (g * (one - w * w),)

    return Formulas(("lambda",), _learn(f), draw, terms=terms)


def hard(f: Functions) -> Formulas:
    """Return the formulas of signs."""
    one, two, exp, where = f.number(1), f.number(2), f.exp, f.where

    def draw(_c: Any, state: Any, u: Any) -> Any:
        e = exp(two * state[1])
        w = where(u * (one + e) < e, one, -one)
        return w, w

    return Formulas(("lambda",), _learn(f), draw)


def _learn(f: Functions) -> Callable[..., Any]:
    one, two, exp, sign = f.number(1), f.number(2), f.exp, f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        _, factor, lr, bound, kl_weight, pull = c
        value, q = state[1], factor * sums[0]
        e = exp(two * value)
        t = (e - one) / (e + one)
        h = kl_weight * (one - t * t)
        eta = one / (h + two * q * t + two * abs(q) + bound)
        value = value - eta * (lr * q + pull * h * value)
        return sign(value), value

    return learn
