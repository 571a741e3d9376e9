"""Metaplasticity from synaptic uncertainty (MESU).

Source: Bonnet et al., "Bayesian continual learning and forgetting in neural networks", Nature
Communications 2025 (arXiv 2504.13569).
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.markers import Positive, Search
from bnnlab_mesu import formulas
from bnnlab_mesu.gaussian import GaussianOptimizer
from bnnlab_mesu.limits import SHRINK


class MESU(GaussianOptimizer):
    """Gaussian weights that learn at the rate of their variance, and forget towards a prior.

    With the gradients g_mu and g_sigma of `GaussianOptimizer`, prior N(mu_p, sigma_p^2) and memory
    window N, both steps taken from the old sigma:

        Delta mu    = lr_mu [-sigma^2 g_mu + sigma^2 (mu_p - mu) / (N sigma_p^2)]
        Delta sigma = lr_sigma / 2 [-sigma^2 g_sigma
                                    + sigma (sigma_p^2 - sigma^2) / (N sigma_p^2)]

    A weight that the data determine gets a small sigma and hardly moves; one that they do not goes
    back to the prior, and is free to learn again. N counts steps: it is how many of them the
    posterior remembers, and `memory=None` is infinity: nothing is forgotten.

    The schedule of a run multiplies both rates, and so the pull to the prior, as the equations say.

    Where this differs from the published codes: one of them multiplies the pull on mu by sigma_p^2,
    where the equation divides, takes the initial sigma for the prior's, and leaves the pull out of
    the learning rates. Without a clamp, sigma there turns negative where
    lr_sigma sigma g_sigma > 2; here a step leaves at least a quarter of it, which comes into play
    only where lr_sigma clamp > 1.5, or where sigma is far above sigma_p and N small.

    Args:
        lr: lr_mu, learning rate of the means.
        sigma_lr: lr_sigma, learning rate of the standard deviations.
        prior_mean: mu_p, mean of the prior of every weight.
        prior_sigma: sigma_p, standard deviation of the prior of every weight.
        memory: N, the number of steps that the posterior remembers. None: nothing is forgotten.
        gaussian: Options of `GaussianOptimizer`.
    """

    rates = ("lr", "sigma_lr")
    formulas = formulas.mesu

    def __init__(
        self,
        model: Model,
        *,
        lr: Annotated[Positive, Search(0.1, 10.0)] = 1.0,
        sigma_lr: Annotated[Positive, Search(0.1, 10.0)] = 1.0,
        prior_mean: float = 0.0,
        prior_sigma: Annotated[Positive, Search(0.01, 1.0)] = 0.1,
        memory: Annotated[Positive | None, Search(1e4, 1e7)] = 1e6,
        **gaussian: Any,
    ) -> None:
        super().__init__(
            model,
            lr=lr,
            settings={
                "sigma_lr": sigma_lr,
                "prior_mean": prior_mean,
                "prior_sigma": prior_sigma,
                "memory": memory,
            },
            **gaussian,
        )

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:  # noqa: ARG002
        """Return lr, sigma_lr, and the prior's mean, variance and pull, after what all have."""
        own = group["lr"], group["sigma_lr"], group["prior_mean"], *_pull(group)
        return *formulas.shared(self, group, parameter), *own

    def move(self, group: Group, mu: Tensor, sigma: Tensor, x_mu: Tensor, x_sigma: Tensor) -> None:
        """Apply the equations of this module."""
        prior_variance, pull = _pull(group)
        # 1 + Delta sigma / sigma, so that its bound is a number.
        growth = torch.addcmul(x_sigma, sigma, sigma, value=pull)
        growth.sub_(pull * prior_variance).mul_(-group["sigma_lr"] / 2).add_(1)
        step = torch.sub(group["prior_mean"], mu).mul_(sigma).mul_(pull).sub_(x_mu)
        mu.addcmul_(sigma, step, value=group["lr"])
        sigma.mul_(growth.clamp_(min=SHRINK))


def _pull(group: Group) -> tuple[float, float]:
    """Return the prior's variance, and 1 / (N sigma_p^2)."""
    prior_variance = group["prior_sigma"] ** 2
    memory = math.inf if group["memory"] is None else group["memory"]
    return prior_variance, 1 / (memory * prior_variance)
