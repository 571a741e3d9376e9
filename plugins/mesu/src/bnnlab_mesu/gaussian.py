"""Gaussian weights: what MESU and BGD share.

The mean mu is the model's own weight, and what is deployed; the standard deviation is
`self.state[w]["sigma"]`. Gaussian are all parameters of two or more dimensions (matrices and
kernels); biases, gains and shifts are trained by Adam.

With eps_s ~ N(0, 1), weights w_s = mu + sigma eps_s, S draws a step, and L the loss *summed*
over the batch, subclasses get the gradients of the expected loss:

    g_mu    = 1/S sum_s dL/dw_s
    g_sigma = 1/S sum_s dL/dw_s eps_s

each cut to [-clamp / sigma, clamp / sigma].

Whatever the gradient, sigma stays within [sqrt(tiny), sqrt(max)] and mu within
[-sqrt(max), sqrt(max)] of its floating-point type (1e-19 and 1.8e19 in float32), so that the
squares of both are numbers. That is only a guard against overflow: without a clamp a huge
gradient can still throw a weight so far that it never returns. Where a gradient or its mean is
not finite, mu and sigma become NaN and stay so, and the look that comes every 50 steps finds
them.
"""

import math
from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.families.noise import normal_
from bnnlab.families.summed_draws import SummedDraws
from bnnlab.guards.module_state import memory_kept
from bnnlab.interfaces.elementwise import chunks, draw_chunks
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.markers import AtLeast, Below, Positive, Search
from bnnlab_mesu.limits import limits


class GaussianOptimizer(SummedDraws):
    """A posterior in which real weights are independent: q(w) = N(mu, sigma^2).

    The docstring of this module has the equations.

    Args:
        model: One without binary weights.
        generator: Draws the weights.
        sigma_init: The standard deviation of a fresh weight is this, over what `sigma_scale` says.
        sigma_scale: What divides sigma_init. fan-in or fan-out: the square root of a weight's
            inputs, or outputs. none: 1, all fresh weights have the same sigma.
        sigma_min: sigma is kept at or above this. None: no bound.
        sigma_max: sigma is kept at or below this. None: no bound.
        ratio_max: A step changes mu and sigma by at most ratio_max sigma each. None: no bound.
        clamp: Gradients are clipped to [-clamp / sigma, clamp / sigma]. None: no bound.
        test_draws: C, the number of weight draws that an evaluation averages over. 0: the means.
        prune: Share of the Gaussian weights that are 0 in every evaluation: those of the smallest
            signal-to-noise ratio |mu| / sigma in the whole network. Training goes on with all.
        settings: As in `Optimizer`.
        posterior: Options of `PosteriorOptimizer`.

    Raises:
        UsageError: If the model has binary weights, or sigma_min is above sigma_max.
    """

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        sigma_init: Annotated[Positive, Search(0.1, 3.0)] = 0.5,
        sigma_scale: Literal["fan-in", "fan-out", "none"] = "fan-in",
        sigma_min: Positive | None = None,
        sigma_max: Positive | None = None,
        ratio_max: Positive | None = None,
        clamp: Annotated[Positive | None, Search(0.05, 1.0)] = 1.0,
        train_draws: Annotated[int, AtLeast(1), Search(1, 10)] = 3,
        test_draws: Annotated[int, AtLeast(0)] = 10,
        prune: Annotated[float, AtLeast(0), Below(1)] = 0.0,
        settings: Mapping[str, Any] = MappingProxyType({}),
        **posterior: Any,
    ) -> None:
        binary = model.binary_parameters()
        if binary:
            raise UsageError(
                f"{type(self).__name__} learns real weights, but the model has {len(binary)} "
                "binary parameters: choose a model of real weights, as --set model.weights=real"
            )
        if sigma_min is not None and sigma_max is not None and sigma_min > sigma_max:
            raise UsageError(f"sigma_min {sigma_min:g} is above sigma_max {sigma_max:g}: lower it")
        super().__init__(
            model,
            generator=generator,
            settings={
                **settings,
                "clamp": clamp,
                "sigma_min": sigma_min,
                "sigma_max": sigma_max,
                "ratio_max": ratio_max,
            },
            weights=[parameter for parameter in model.parameters() if parameter.ndim > 1],
            train_draws=train_draws,
            test_draws=test_draws,
            examples=None,
            **posterior,
        )
        self.prune = prune
        for parameter in self.learned():
            fans = {"fan-in": parameter[0].numel(), "fan-out": parameter[:, 0].numel(), "none": 1}
            sigma = sigma_init * fans[sigma_scale] ** -0.5
            self.state[parameter]["sigma"] = torch.full_like(parameter, sigma)

    @abstractmethod
    def move(self, group: Group, mu: Tensor, sigma: Tensor, x_mu: Tensor, x_sigma: Tensor) -> None:
        """Update mu and sigma in place, both from the old sigma.

        Args:
            group: The parameter group, with its settings.
            mu: Means, of any shape.
            sigma: Standard deviations.
            x_mu: sigma g_mu, see the class; it may be overwritten.
            x_sigma: sigma g_sigma, likewise.
        """

    def draws(self, group: Group, parameter: Tensor, count: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return mu + sigma eps and eps."""
        weights = self.room("weights", parameter, count)
        noise = self.room("noise", parameter, count)
        generator = self.generator(parameter.device)
        shared = parameter.detach(), self.state[parameter]["sigma"]
        for mu, sigma, w, eps in draw_chunks(shared, (weights, noise)):
            torch.addcmul(mu, sigma, normal_(eps, generator), out=w)
        return weights, noise

    def terms(self, noise: Tensor, grads: Tensor) -> tuple[Tensor, ...]:
        """Return g and g eps."""
        for eps, g in draw_chunks((), (noise, grads)):
            eps.mul_(g)
        return grads, noise

    def draw(self, parameter: Tensor) -> Tensor:
        """Return weights drawn from the posterior."""
        mu = parameter.detach()
        eps = torch.empty_like(mu).normal_(generator=self.generator(mu.device))
        return torch.addcmul(mu, self.state[parameter]["sigma"].to(mu), eps)

    def predictive(self, n: int) -> Iterator[None]:
        """Write n weight draws, or for 0 the means, without the weights that are pruned."""
        sigmas = {p: self.state[p]["sigma"] for p in self.learned()} if self.prune else {}
        kept = _kept(sigmas, self.prune)
        with closing(cast(Generator[None, None, None], super().predictive(n))) as draws:
            for _ in draws:
                with memory_kept(kept):
                    for parameter, mask in kept.items():
                        parameter.data = parameter.data * mask
                    yield

    def predicts_by(self) -> str:
        """Say how much is pruned, too."""
        pruned = f", {self.prune:.3g} of the weights pruned" if self.prune else ""
        return super().predicts_by() + pruned

    def learn(self, group: Group, parameter: Tensor, sums: Sequence[Tensor], count: int) -> None:
        """Cut the gradients and `move`; a chunk of each tensor at a time."""
        factor = self.count(group, "batch_size") / count
        clamp, ratio, low, high, largest = limits(group, parameter.dtype)
        for mu, sigma, *found in chunks(parameter, self.state[parameter]["sigma"], *sums):
            scale = sigma * factor
            # An infinite gradient would be cut like a large one.
            x = [g.nan_to_num(math.nan, math.nan, math.nan).mul_(scale) for g in found]
            old = None if ratio == math.inf else (mu.clone(), sigma.clone())
            self.move(group, mu, sigma, *(each.clamp_(-clamp, clamp) for each in x))
            if old is not None:
                most = ratio * old[1]
                for value, before in zip((mu, sigma), old, strict=True):
                    torch.clamp(value, before - most, before + most, out=value)
            mu.clamp_(-largest, largest)
            sigma.clamp_(low, high)

    def diagnostics(self) -> dict[str, float]:
        """Return the mean of sigma over all Gaussian weights."""
        sigmas = [self.state[parameter]["sigma"] for parameter in self.learned()]
        if not sigmas:
            return {}
        total = sum(float(sigma.sum()) for sigma in sigmas)
        return {"sigma": total / sum(sigma.numel() for sigma in sigmas)}


def _kept(sigmas: Mapping[Tensor, Tensor], prune: float) -> dict[Tensor, Tensor]:
    """Return where each weight is kept, by its sigma; nothing of none."""
    if not sigmas:
        return {}
    ratios = {mu: (mu.detach() / sigma.to(mu)).abs() for mu, sigma in sigmas.items()}
    count = math.ceil(prune * sum(ratio.numel() for ratio in ratios.values()))
    least = torch.cat([ratio.flatten() for ratio in ratios.values()]).kthvalue(count).values
    return {mu: ratio > least for mu, ratio in ratios.items()}
