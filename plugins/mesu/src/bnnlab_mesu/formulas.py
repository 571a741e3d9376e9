"""The equations of MESU and BGD for one weight, see `bnnlab_mesu.gaussian`."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from bnnlab.families.posterior import PosteriorOptimizer
from bnnlab.interfaces.kernels import Formulas, Functions
from bnnlab.interfaces.optimizer import Group
from bnnlab_mesu.limits import SHRINK, limits


def mesu(f: Functions) -> Formulas:
    """Return MESU's formulas."""
    one, half, shrink, where = f.number(1), f.number(0.5), f.number(SHRINK), f.where

    def move(own: Any, mu: Any, sigma: Any, x_mu: Any, x_sigma: Any) -> Any:
        lr, sigma_lr, mean, variance, pull = own
        back = pull * (sigma * sigma - variance)
        growth = one - half * sigma_lr * (x_sigma + back)
        mu = mu + lr * sigma * (pull * sigma * (mean - mu) - x_mu)
        return mu, sigma * where(growth < shrink, shrink, growth)

    return _gaussian(f, move)


def bgd(f: Functions) -> Formulas:
    """Return BGD's formulas."""
    zero, one, half, sqrt, where = f.number(0), f.number(1), f.number(0.5), f.sqrt, f.where

    def move(own: Any, mu: Any, sigma: Any, x_mu: Any, x_sigma: Any) -> Any:
        x = half * x_sigma
        size = abs(x)
        large = where(size > one, size, one)  # so that no square overflows
        ratio = where(size > one, one, size) / large
        factor = large * sqrt(one + ratio * ratio) + size
        return mu - own[0] * sigma * x_mu, sigma * where(x > zero, one / factor, factor)

    return _gaussian(f, move)


def shared(
    optimizer: PosteriorOptimizer, group: Group, parameter: Tensor
) -> tuple[float, float, float, float, float, float]:
    """Return the factor of a sum of gradients, and the limits: what both have first."""
    factor = optimizer.count(group, "batch_size") / optimizer.train_draws
    return factor, *limits(group, parameter.dtype)


def _gaussian(f: Functions, move: Callable[..., Any]) -> Formulas:
    """Return formulas of what moves mean and standard deviation; its own numbers are `c[6:]`."""
    zero, normal, clip, move = f.number(0), f.normal, f.clip, f.part(move)

    def draw(_c: Any, state: Any, u: Any) -> Any:
        eps = normal(u)
        return state[0] + state[1] * eps, eps

    def terms(eps: Any, g: Any) -> Any:
        return g, g * eps

    def learn(c: Any, state: Any, sums: Any) -> Any:
        factor, clamp, ratio, low, high, largest = c[:6]
        mu, sigma = state
        scale = factor * sigma
        # The product with 0 is NaN where a gradient is infinite.
        x_mu = clip(scale * sums[0], -clamp, clamp) + zero * sums[0]
        x_sigma = clip(scale * sums[1], -clamp, clamp) + zero * sums[1]
        new_mu, new_sigma = move(c[6:], mu, sigma, x_mu, x_sigma)
        most = ratio * sigma
        new_mu = clip(clip(new_mu, mu - most, mu + most), -largest, largest)
        return new_mu, clip(clip(new_sigma, sigma - most, sigma + most), low, high)

    return Formulas(("sigma",), learn, draw, keeps_noise=True, terms=terms, count=2)
