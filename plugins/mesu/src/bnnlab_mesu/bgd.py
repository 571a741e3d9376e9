"""Bayesian gradient descent (BGD).

Source: Zeno, Golan, Hoffer and Soudry, "Task Agnostic Continual Learning Using Online Variational
Bayes", 2018 (arXiv 1803.10123).
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.markers import Positive, Search
from bnnlab_mesu import formulas
from bnnlab_mesu.gaussian import GaussianOptimizer


class BGD(GaussianOptimizer):
    """Gaussian weights, each step's posterior being the next one's prior: online variational Bayes.

    With the gradients g_mu and g_sigma of `GaussianOptimizer`, both steps taken from the old sigma:

        mu    <- mu - eta sigma^2 g_mu
        sigma <- sigma sqrt(1 + (sigma g_sigma / 2)^2) - sigma^2 g_sigma / 2

    With x = sigma g_sigma / 2 the factor of sigma is sqrt(1 + x^2) - x, which is positive for every
    x; for x > 0 it is computed as 1 / (sqrt(1 + x^2) + x), whose digits do not cancel. It was
    published without a forgetting term: sigma shrinks with what is learned, and so does plasticity.

    Only mu has a learning rate, so the schedule of a run leaves the steps of sigma as they are.

    Where this differs from the published codes: in four of them, baselines of later papers, the
    square root has the wrong sign, 2 - sqrt(1 + x^2) - x, which shrinks sigma too fast and makes it
    negative above x = 0.75. The right rule without a clamp lets sigma grow by 2 |x| in a step, and
    can diverge with small batches. `clamp` = c keeps the factor within
    sqrt(1 + c^2 / 4) +- c / 2; for the default of 1 that is 0.62 to 1.62.

    Args:
        lr: eta, learning rate of the means.
        gaussian: Options of `GaussianOptimizer`.
    """

    formulas = formulas.bgd

    def __init__(
        self,
        model: Model,
        *,
        lr: Annotated[Positive, Search(0.1, 10.0)] = 1.0,
        **gaussian: Any,
    ) -> None:
        super().__init__(model, lr=lr, **gaussian)

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:  # noqa: ARG002
        """Return lr, after what all have."""
        return *formulas.shared(self, group, parameter), group["lr"]

    def move(self, group: Group, mu: Tensor, sigma: Tensor, x_mu: Tensor, x_sigma: Tensor) -> None:
        """Apply the equations of this module."""
        mu.addcmul_(sigma, x_mu, value=-group["lr"])
        x = x_sigma.mul_(0.5)
        size = x.abs()
        factor = torch.hypot(size, torch.ones_like(size[:1])).add_(size)
        sigma.mul_(torch.where(x > 0, factor.reciprocal(), factor))
