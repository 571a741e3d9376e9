"""Bop, the binary optimizer: gradients flip weights, and nothing is kept but their average.

Source: Helwegen, Widdicombe, Geiger, Liu, Cheng and Nusselder, "Latent Weights Do Not Exist:
Rethinking Binarized Neural Network Optimization", NeurIPS 2019, algorithm 1.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from bnnlab.model import Model
from bnnlab.optimizer import Group, Optimizer, chunks


class Bop(Optimizer):
    """Flips a binary weight when the average of its gradients is of its sign and large enough.

    With gradient g of the mean loss, average m (0 at first, not corrected for that), adaptivity
    rate gamma, threshold tau and binary weight w, algorithm 1 is:

        m <- (1 - gamma) m + gamma g
        w <- -w    if |m| > tau and sign(m) = sign(w), which is w m > tau
        w <-  w    otherwise

    m is not reset by a flip, so a weight flips back only where m has crossed from beyond tau to
    beyond -tau. A gradient that is always zero flips nothing, even where tau = 0.

    The form `accumulator` keeps a = m / gamma instead:

        a <- (1 - gamma) a + g
        w <- -w    if w a > theta,  theta = tau / gamma, with the gamma of the step

    which flips alike while gamma is constant. It shows what matters: theta, in units of the
    gradient, and the memory of 1 / gamma steps. In training much shorter than that, a is the sum of
    all gradients. And a is as large as gradients are, where m underflows float16. It is the flip
    rule of Laydevant, Ernoult, Querlioz and Grollier, "Training Dynamical Binary Neural Networks
    with Equilibrium Propagation", CVPR Workshops 2021. When gamma is lowered, the average keeps m,
    and the accumulator keeps a and raises theta: from there on it flips less than the average.

    gamma is the first group's `lr`, so that torch's schedulers schedule it. `gamma_decay` is the
    published staircase, gamma <- gamma_decay gamma after every `gamma_decay_steps` steps; use that
    or a scheduler. Real parameters get Adam, as in the paper.

    Published code differs where w m = tau: the original then sets w to +1 whatever it was, and a
    port to PyTorch sets it to 0, for ever. The port also starts from real weights, whose size then
    scales tau. Here w is -1 or +1 always, and w m = tau does not flip, as the paper has it.

    Args:
        model: As in `Optimizer`.
        generator: Not used: nothing is drawn.
        gamma: Adaptivity rate, in (0, 1].
        threshold: tau, at least 0.
        gamma_decay: Factor on gamma, in (0, 1].
        gamma_decay_steps: Steps between two decays, at least 1.
        form: What is kept, m or a, as `self.state[w]["m"]` or `self.state[w]["a"]`.
        real_lr: Adam's learning rate for real parameters.
    """

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator | None = None,
        gamma: float = 1e-4,
        threshold: float = 1e-8,
        gamma_decay: float = 1.0,
        gamma_decay_steps: int = 10000,
        form: Literal["average", "accumulator"] = "average",
        real_lr: float = 0.01,
    ) -> None:
        super().__init__(model, lr=gamma, real_lr=real_lr, generator=generator)
        self.param_groups[0].update(
            threshold=threshold,
            gamma_decay=gamma_decay,
            gamma_decay_steps=gamma_decay_steps,
            form=form,
            t=0,
            # Of all weights together, on their device: in the state, torch would load it as float.
            flips=torch.zeros((), dtype=torch.int64),
        )
        name = "m" if form == "average" else "a"
        for parameter in self.learned():
            self.state[parameter][name] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make one step: evaluate, flip weights, update the real parameters."""
        loss = closure()
        for group in self.learned_groups():
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(group, parameter, parameter.grad)
            group["t"] += 1
            if group["t"] % group["gamma_decay_steps"] == 0:
                group["lr"] *= group["gamma_decay"]
        self.step_real()
        return loss

    def update(self, group: Group, parameter: Tensor, grad: Tensor) -> None:
        """Apply the equations above to a binary parameter, in place.

        Args:
            group: The first parameter group, with its settings.
            parameter: The weights, -1 and +1.
            grad: The mean loss's gradient, of the same shape.
        """
        gamma, threshold, state = group["lr"], group["threshold"], self.state[parameter]
        average = group["form"] == "average"
        if not average:  # a scheduler may end at gamma = 0, where m stands still: no flips
            threshold = threshold / gamma if gamma else math.inf
        flips = group["flips"].to(parameter.device, copy=True)
        for w, g, kept in chunks(parameter, grad, state["m" if average else "a"]):
            if average:
                kept.lerp_(g, gamma)
            else:
                kept.mul_(1 - gamma).add_(g)
            flipped = torch.mul(w, kept).gt_(threshold)  # 1 where the weight flips, else 0
            w.addcmul_(w, flipped, value=-2)
            # A float32 sum of a CPU's chunk is exact, and faster than count_nonzero.
            flips.add_(flipped.sum(dtype=torch.float32).long())
        group["flips"] = flips

    def diagnostics(self) -> dict[str, float]:
        """Return the flips since the last call, per weight, and count anew."""
        weights = sum(parameter.numel() for parameter in self.learned())
        if not weights:
            return {}
        flips = 0
        for group in self.learned_groups():
            flips += int(group["flips"])
            group["flips"] = torch.zeros_like(group["flips"])
        return {"flips_per_weight": flips / weights}
