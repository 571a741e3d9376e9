"""BiMU, and its earlier form BHU.

Source: "Active Continual Learning with Metaplastic Binary Bayesian Neural Networks", ICML 2026
(arXiv 2605.30198).
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bnnlab.families.noise import logistic_, uniform_
from bnnlab.families.posterior import BernoulliOptimizer
from bnnlab.families.summed_draws import SummedDraws
from bnnlab.interfaces.elementwise import chunks, draw_chunks
from bnnlab.interfaces.kernels import MakeFormulas
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.interfaces.signs import write_signs
from bnnlab.markers import AtLeast, Positive, Search
from bnnlab_bimu import formulas


class BiMU(SummedDraws, BernoulliOptimizer):
    """A Bernoulli posterior whose certainty about a weight sets how fast that weight is learned.

    A binary weight w has P(w = +1) = sigmoid(2 lambda). A step learns at S draws of all weights,
    with u uniform in (0, 1) and temperature tau:

        rho_s = lambda + log(u_s / (1 - u_s)) / 2
        w_s = tanh(rho_s / tau),  dw_s/dlambda = (1 - w_s^2) / tau      draws = relaxed
        w_s = sign(rho_s),        dw_s/dlambda := 1                     draws = hard

    L being the loss summed over the B examples of the batch, g is the mean of dL/dlambda over the
    draws. With kappa = `likelihood_weight`, rho = `kl_weight` and N = `memory`:

        q = kappa g
        h = rho (1 - tanh^2 lambda)
        eta = 1 / (h + 2 q tanh(lambda) + 2 |q| + 1 / lr_max)
        lambda <- lambda - eta (lr q + lambda h / N)

    h is the curvature of the divergence between the posterior before and after the step, and
    2 q tanh(lambda) + 2 |q| bounds that of the expected loss. The second is at least 0, so the
    denominator is at least 1 / lr_max and eta lies in (0, lr_max]. A step that weakens a weight
    (q lambda > 0) moves a fresh one by at most lr / 2 and a certain one by at most lr / 4, however
    large q is; one that consolidates a certain weight (q lambda < 0) has eta near lr_max. Towards
    the uniform prior, lambda = 0, a weight is pulled all the time, unless N is infinite.

    BHU, the earlier form, is eta = 1 / (m (rho (1 - tanh^2 lambda) + 2 g tanh(lambda) + 2 |g|)
    + 1 / lr_max), lambda <- lambda - eta g: kappa = m, lr = 1 / m, N infinite, and m rho for rho.

    Source: "Active Continual Learning with Metaplastic Binary Bayesian Neural Networks", ICML 2026
    (arXiv 2605.30198), update rule of BiMU. It differs from the published code in these points:

    - A training draw is shared by the batch, as there, but the loss at each is the
      cross-entropy itself: the code of BHU clamps log-probabilities to [-10, -1e-4], which takes
      the gradient from what is badly wrong.
    - lambda starts between 0 and 1 / sqrt(fan-in) with the weight's sign, as uniform in both signs
      as there; BHU's code starts at exactly 0, whatever its option says: `lambda_init=0`.
    - Real parameters (biases, norms, scales), of which the published networks have none, are
      learned by Adam with `real_lr`.
    - A batch whose gradients are all 0 still forgets; where the published code leaves examples
      out to save labels, it skips the forgetting too.

    N is no number of examples: the pull is also multiplied by eta and by h.

    The schedule of a run multiplies lr, the factor on what the data say; the pull to the prior and
    lr_max stay. So where lr falls, the prior weighs more: a larger N makes up for it.

    Args:
        lr: Learning rate, factor on the gradient.
        lr_max: Largest eta; reached where a step strengthens a certain weight.
        likelihood_weight: kappa, weight of the loss's gradient.
        kl_weight: rho, weight of the divergence between the posteriors before and after a step.
        memory: N, divides the pull to the uniform prior. None: no pull, nothing is forgotten.
        draws: Weights at which a step learns. relaxed: real numbers between -1 and +1. hard: signs,
            with a straight-through gradient.
        temperature: tau of relaxed draws; the smaller, the closer to signs.
        posterior: Options of `BernoulliOptimizer`.
    """

    stackable = True

    def __init__(
        self,
        model: Model,
        *,
        lr: Annotated[Positive, Search(0.1, 100.0)] = 1.0,
        lr_max: Annotated[Positive, Search(1e-3, 15.0)] = 5.0,
        likelihood_weight: Annotated[Positive, Search(0.1, 300.0)] = 1.0,
        kl_weight: Annotated[float, AtLeast(0), Search(0.01, 10.0)] = 0.1,
        memory: Annotated[float | None, AtLeast(1), Search(100.0, 10000.0)] = 1000.0,
        draws: Literal["relaxed", "hard"] = "relaxed",
        temperature: Annotated[Positive, Search(0.5, 1.5)] = 1.0,
        train_draws: Annotated[int, AtLeast(1)] = 2,
        **posterior: Any,
    ) -> None:
        settings = {
            "lr_max": lr_max,
            "likelihood_weight": likelihood_weight,
            "kl_weight": kl_weight,
            "memory": memory,
            "temperature": temperature,
        }
        super().__init__(
            model,
            lr=lr,
            train_draws=train_draws,
            examples=None,
            settings=settings,
            **posterior,
        )
        self.draws_are_hard = draws == "hard"

    @property
    def formulas(self) -> MakeFormulas:  # type: ignore[override]
        """The equations for one weight."""
        taus = [group["temperature"] for group in self.learned_groups()]
        return formulas.of(self.draws_are_hard, taus)

    def numbers(self, group: Group, parameter: Tensor, ahead: int = 1) -> Sequence[float]:  # noqa: ARG002
        """Return tau, the factor of a sum of gradients, lr, 1 / lr_max, rho and 1 / N."""
        tau, memory = group["temperature"], group["memory"]
        factor = group["likelihood_weight"] * self.count(group, "batch_size") / self.train_draws
        factor /= 1 if self.draws_are_hard else tau
        pull = 0.0 if memory is None else 1 / memory
        return tau, factor, group["lr"], 1 / group["lr_max"], group["kl_weight"], pull

    def draws(self, group: Group, parameter: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return draws, twice: the derivative is a function of the draw, so no noise is kept."""
        drawn = self.room("weights", parameter, count)
        generator = self.generator(parameter.device)
        for value, w in draw_chunks((self.state[parameter]["lambda"],), (drawn,)):
            if self.draws_are_hard:
                uniform_(w, generator).lt_(torch.sigmoid(2 * value))
            else:
                logistic_(w, generator).add_(value, alpha=2)  # 2 rho
                if group["temperature"] != 1:
                    w.div_(group["temperature"])
                w.sigmoid_()  # tanh(x) = 2 sigmoid(2 x) - 1, which is faster on the CPU
            w.mul_(2).sub_(1)
        return drawn, drawn

    def terms(self, noise: Tensor, grads: Tensor) -> tuple[Tensor, ...]:
        """Return tau dL/dlambda at each draw."""
        if self.draws_are_hard:
            return (grads,)
        for w, g in draw_chunks((), (noise, grads)):
            torch.addcmul(g, w.square_(), g, value=-1, out=w)
        return (noise,)

    def learn(self, group: Group, parameter: Tensor, sums: Sequence[Tensor], count: int) -> None:
        """Apply the equations of this module, a chunk of the parameter at a time.

        With p = sigmoid(2 lambda), tanh(lambda) = 2 p - 1, and 1 - tanh^2(lambda) = 4 p (1 - p).
        """
        lr, rho, memory = group["lr"], 4 * group["kl_weight"], group["memory"]
        factor = group["likelihood_weight"] * self.count(group, "batch_size") / count
        if not self.draws_are_hard:
            factor /= group["temperature"]
        for value, g, weight in chunks(self.state[parameter]["lambda"], *sums, parameter):
            p = torch.mul(value, 2).sigmoid_()
            bottom = g.clamp(max=0)
            bottom.addcmul_(g, p, value=-1)  # -(g tanh(lambda) + |g|) / 2
            spread = p.addcmul_(p, p, value=-1)
            bottom.mul_(-4 * factor).add_(spread, alpha=rho).add_(1 / group["lr_max"])
            top = torch.mul(g, lr * factor)
            if memory is not None:
                top.addcmul_(spread, value, value=rho / memory)
            value.addcdiv_(top, bottom, value=-1)
            write_signs(value, weight)
