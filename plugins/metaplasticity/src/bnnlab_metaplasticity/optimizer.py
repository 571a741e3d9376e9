"""Metaplastic Adam.

Source: Laborieux, Ernoult, Hirtzlin and Querlioz, "Synaptic metaplasticity in binarized neural
networks", Nature Communications 12:2549, 2021, eqs. 1-2 and algorithm 1.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.elementwise import Scratch, chunks, subtract
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.markers import AtLeast, Decay, Positive, Search
from bnnlab.registry.options import per_layer
from bnnlab_metaplasticity.formulas import CompilableMeta, rate_of


class MetaplasticAdam(CompilableMeta):
    """Adam on latent weights whose steps towards zero are damped by the latent weight's size.

    With gradient g, moments M and V, step t, and latent weight W:

        g <- g + weight_decay W
        M <- beta1 M + (1 - beta1) g
        V <- beta2 V + (1 - beta2) g^2
        U  = M / (sqrt(V) + eps)
        s  = lr sqrt(1 - beta2^t) / (1 - beta1^t)
        W <- W - s U f_m(W)    if W M > 0 (the step would shrink |W|),  f_m(W) = 1 - tanh^2(m W)
        W <- W - s U           otherwise

    Growth is never damped, so a weight that the tasks agree on is consolidated. As in the paper's
    code, eps is added before the bias correction, and real parameters get the same Adam with
    m = 0. Latent weights are not bounded: their size stores importance.

    The default m is the paper's for 40 epochs per task of permuted MNIST; shorter training wants
    a larger one. `m="auto"` is 1 / (lr sqrt(steps per task)), set at each task's start: the product
    m lr sqrt(steps) lies between 0.5 and 1.4 in all but one of the published settings, all of them
    long training under backpropagation. In short training less is better (the plugin's README).

    Args:
        m: Metaplasticity coefficient; 0: none. A list has one per weight tensor, from input to
            output. auto: 1 / (lr sqrt(steps per task)), of a schedule with the root mean square
            of lr over the task.
        beta1: Decay of the first moment M.
        beta2: Decay of the second moment V.
        eps: Added to the square root of V.
        weight_decay: L2 penalty, added to the gradient. It shrinks weights, so it is damped too.
        weights: The metaplastic weights. binary: binary weights, by their latent weights. real:
            parameters of two or more dimensions in a model without binary weights, as in the
            paper's comparison.
        latent: Options of `LatentOptimizer`, but for `latent_clip`.

    Raises:
        UsageError: If a list of coefficients does not fit the model's weights, or those that are
            to be real are binary. From `step`, if eps is too small for the model's float16.
    """

    stackable = True
    capturable = True
    formulas = CompilableMeta.formulas

    def __init__(
        self,
        model: Model,
        *,
        lr: Annotated[Positive, Search(1e-4, 1e-1)] = 0.005,
        m: Annotated[
            float | Sequence[float] | Literal["auto"], AtLeast(0), Search(0.5, 20.0)
        ] = 1.35,
        beta1: Decay = 0.9,
        beta2: Decay = 0.999,
        eps: Positive = 1e-8,
        weight_decay: Annotated[float, AtLeast(0)] = 0.0,
        weights: Literal["binary", "real"] = "binary",
        **latent: Any,
    ) -> None:
        if weights == "real" and model.binary_parameters():
            raise UsageError(
                "optimizer.weights is 'real', but the model has binary weights: take 'binary', or "
                "a model without them"
            )
        super().__init__(
            model,
            lr=lr,
            latent_clip=None,
            settings={
                "betas": (beta1, beta2),
                "eps": eps,
                "weight_decay": weight_decay,
                "t": 0,
            },
            weights=None if weights == "binary" else [p for p in model.parameters() if p.ndim > 1],
            **latent,
        )
        learned = self.learned()
        each = per_layer("optimizer.m", m, len(learned), f"{weights} weight")
        for parameter, its in zip(learned, each, strict=True):
            self.state[parameter]["m"] = its
        self._auto = m == "auto"
        self._scratch = Scratch()

    def task_started(self, context: TaskContext) -> None:
        """Set m from the steps of the task that begins, if it is `auto`."""
        if self._auto:
            for group in self.learned_groups():
                lr = group["lr"] * context.rate_factor
                for parameter in group["params"]:
                    self.state[parameter]["m"] = 1 / (lr * math.sqrt(context.steps))

    def step_numbers(self, group: Group) -> dict[str, float]:
        """Count the step; return s."""
        group["t"] += 1
        return {"s": rate_of(group, group["t"])}

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        """Apply the equations of this module, a chunk of each tensor at a time."""
        for parameter in parameters:
            self.expect_fit(group, parameter)
        eps, (beta1, beta2), s = group["eps"], group["betas"], self.numbers_now(group)["s"]
        for parameter, value, grad in zip(parameters, values, grads, strict=True):
            state = self.with_moments(parameter, value)
            m = state.get("m", 0.0)  # what is not learned by the method has none
            for W, g, M, V in chunks(value, grad, state["M"], state["V"]):
                if group["weight_decay"]:
                    g = g.add(W, alpha=group["weight_decay"])
                M.lerp_(g, 1 - beta1)
                V.mul_(beta2).addcmul_(g, g, value=1 - beta2)
                U, half, damping = self._scratch(W, 3)
                torch.sqrt(V, out=U).add_(eps)
                torch.div(M, U, out=U)
                if m:
                    # With T = tanh(mW): T U > 0 exactly where the step shrinks |W|, and there
                    # U - T (T U) = U (1 - T^2), so one clamp stands for the case distinction.
                    # T / 2 = sigmoid(2mW) - 1/2 takes a fifth of tanh's time.
                    torch.mul(W, 2 * m, out=half).sigmoid_().sub_(0.5)
                    torch.mul(half, U, out=damping).clamp_min_(0)
                    U.addcmul_(half, damping, value=-4)
                subtract(W, U, s)
