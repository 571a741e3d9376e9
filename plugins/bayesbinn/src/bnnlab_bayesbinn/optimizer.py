"""BayesBiNN.

Source: Meng, Bachmann and Khan, "Training Binary Neural Networks using the Bayesian Learning Rule",
ICML 2020, eqs. 8-12, table 1 and section 3.3.

Mode "posterior". With natural parameter lambda, mean mu = tanh(lambda), P(w = +1) =
sigmoid(2 lambda), M training examples, S draws, u uniform in (0, 1), and g the gradient of the
batch-mean loss at the relaxed weight w:

    rho    = lambda + log(u / (1 - u)) / 2                          (eq. 10)
    w      = tanh(rho / tau)                                        (eq. 11)
    s      = (1 - w^2) / (tau (1 - mu^2)) = dw/dmu                  (eq. 12)
    ghat   = M / S sum_s s g
    m      <- beta m + (1 - beta) (ghat + kappa (lambda - lambda_prior))
    lambda <- lambda - alpha m / (1 - beta^t)

With S = 0 (`train_draws=0`) nothing is drawn: the step learns at the mean weights, and to first
order the loss's mean is the loss at the mean, so its derivative by mu is g itself:

    w      = mu = tanh(lambda),    ghat = M g

This is "BCVI-D" of the published code (--train-samples 0). tau has no effect.

beta = 0 and kappa = 1 is the paper's update (table 1). lambda_prior is 0 in the first task;
prior "previous" makes it lambda as each task ends (section 3.3), "uniform" leaves it at 0, and
with "none" the pull towards it is left out. The deployed weights are the signs of lambda. The
default kappa is less than 1, the exact posterior's: where there are far more weights than
examples, that one stays so close to its prior that draws from it predict little.

|lambda| is bounded by 1e6. No gradient within float32 makes it anything but finite.

Mode "sign". One gradient g at the deployed weights w, no draws, and no posterior:

    lambda <- (1 - alpha) lambda - alpha g
    w      = sign(lambda)

This is Bop with threshold 0, and equally SGD with weight decay through a straight-through sign.
It is what the published image results were, which have tau = 1e-10 in float32: see below.
There lambda is next to nothing compared with the first step, so that the first gradients flip
half of all weights; here it starts at `lambda_init`, which wants to be some 1e-4, as lambda has the
gradients' size.

Where the published code differs, and this does not follow:

- It adds 1e-10 to both factors of s. At tau = 1e-10 both are rounded to 0, so that s is 1 / tau
  for every weight, M and tau cancel, and what remains is mode "sign". At tau = 1e-2 the same
  guard lets lambda jump to 1e10. Here s is exact; at tau = 1e-10 that is 0: nothing is learned.
- Its mu is that of the step before.
- lambda starts at -10 or +10 (--lamda), where at tau well below 1 the exact s is 0 and nothing is
  learned before the pull to the prior has brought lambda down; here between -0.1 and 0.1. At tau =
  1, s is there exp(-2 (rho - lambda) sign(lambda)), of median 1; the code's is 1. Its start is
  `lambda_start=fixed lambda_init=10`; the later code of BiMU has `lambda_init=0`.
- Its predictions average logits; here the run averages probabilities, as in the paper.
- Every parameter is made binary, biases and gains included; here those stay real, with Adam.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.families.noise import logistic_
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.elementwise import chunks, draw_chunks, subtract
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab.interfaces.signs import write_signs
from bnnlab.markers import Above, AtLeast, AtMost, Decay, Positive, Search
from bnnlab_bayesbinn.formulas import LARGEST_DRAWN, CompilableBayesBiNN


def slope_(x: Tensor) -> Tensor:
    """Write the derivative of the logistic function at x into x, and return it.

    With p = sigmoid(-|x|), which is at most 1/2, p - p^2 does not cancel where sigmoid(x) rounds to
    0 or 1.
    """
    p = x.abs_().neg_().sigmoid_()
    return p.addcmul_(p, p, value=-1)


def by_mean(grad: Tensor, lamda: Tensor) -> Tensor:
    """Return a gradient by lambda, over 4, as one by mu = tanh(lambda)."""
    return grad / slope_(lamda.to(grad.dtype).clamp(-LARGEST_DRAWN, LARGEST_DRAWN).mul_(2))


def average_signs(optimizer: Optimizer) -> None:
    """Make the step of mode "sign", a chunk of each tensor at a time."""
    for group in optimizer.learned_groups():
        lr = optimizer.lr_now(group)
        for weight in (each for each in group["params"] if each.grad is not None):
            if optimizer.kernels is not None:
                optimizer.kernels.learn(optimizer, group, weight, [weight.grad])
                continue
            lamda = optimizer.state[weight]["lambda"]
            for value, g, w in chunks(lamda, weight.grad, weight):
                subtract(value.mul_(1 - lr), g, lr)
                write_signs(value, w)


def _expect_no_overshoot(lr: float, kappa: float) -> None:
    if lr * kappa > 1:
        raise UsageError(
            f"lr {lr:g} times prior_precision {kappa:g} is above 1: a step would overshoot the "
            "prior; lower one of them"
        )
    if lr > 1:
        raise UsageError(f"lr {lr:g} is above 1: lower it")


class BayesBiNN(CompilableBayesBiNN):
    """The Bayesian learning rule for independent binary weights, or its limit, a sign of averages.

    The docstring of this module has the equations of both modes.

    Args:
        generator: Draws the weights.
        mode: posterior: learn a posterior. sign: learn the signs of averaged gradients, without
            draws; only lr, lambda_init, lambda_start and real_lr have an effect.
        lr: alpha, learning rate.
        temperature: tau, temperature of the relaxed weights; the smaller, the closer to signs.
        momentum: beta, decay of the averaged gradient.
        prior: Mean of the prior. previous: the last task's posterior. uniform: 0. none: no prior.
        prior_precision: kappa, weight of the pull to the prior; 1 is the exact posterior's.
        lambda_init: Largest size of a fresh natural parameter. With mode=sign, about 1e-4.
        train_draws: S, the number of weight draws per step. 0: one step at the mean weights.
        examples: M, examples in the training data. None: those of the task.
        posterior: Options of `BernoulliOptimizer`.

    Raises:
        UsageError: If alpha kappa is above 1: a step would overshoot the prior. From `step` in mode
            "posterior", if nothing said how many examples there are.
    """

    capturable = True
    formulas = CompilableBayesBiNN.formulas

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        mode: Literal["posterior", "sign"] = "posterior",
        lr: Annotated[float, Above(0), AtMost(1), Search(1e-4, 0.1)] = 0.03,
        temperature: Annotated[Positive, Search(1e-3, 1.0)] = 0.1,
        momentum: Decay = 0.0,
        prior: Literal["previous", "uniform", "none"] = "previous",
        prior_precision: Annotated[float, AtLeast(0), Search(0.01, 1.0)] = 0.1,
        lambda_init: Annotated[float, AtLeast(0), Search(0.01, 1.0)] = 0.1,
        train_draws: Annotated[int, AtLeast(0), Search(1, 2, 5)] = 1,
        **posterior: Any,
    ) -> None:
        super().__init__(
            model,
            generator=generator,
            lr=lr,
            lambda_init=lambda_init,
            train_draws=train_draws,
            batch_size=None,
            settings={
                "temperature": temperature,
                "momentum": momentum,
                "prior_precision": prior_precision,
            },
            **posterior,
        )
        self.mode, self.prior = mode, prior
        self.check_rates(1.0)
        self.test_draws = 0 if mode == "sign" else self.test_draws
        self.param_groups[0]["t"] = 0

    def check_rates(self, factor: float) -> None:
        """Refuse alpha above 1, and alpha kappa above 1 where there is a pull to the prior."""
        pulls = self.mode == "posterior" and self.prior != "none"
        for group in self.learned_groups():
            _expect_no_overshoot(group["lr"] * factor, group["prior_precision"] if pulls else 0.0)

    def step_numbers(self, group: Group) -> dict[str, float]:
        """Count the step; return alpha, over 1 - beta^t in mode "posterior"."""
        if self.mode == "sign" or not group["learned"]:
            return {"lr": group["lr"]}
        self.count(group, "examples")  # if unknown, say so before anything is drawn
        group["t"] += 1
        return {"lr": group["lr"] / (1 - group["momentum"] ** group["t"])}

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make one step of the mode's equations, and one of Adam on the real parameters."""
        if self.mode == "posterior":
            return super().step(closure)
        loss = closure()
        average_signs(self)
        self.step_real()
        return loss

    def draws(self, group: Group, parameter: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return relaxed weights, and sigmoid(-2 |rho| / tau); of S = 0 the mean weights."""
        value = self.state[parameter]["lambda"]
        if not count:
            return value.tanh()[None], value
        weights = self.room("weights", parameter, count)
        wide = torch.promote_types(value.dtype, torch.float32)  # float16 lacks the range
        noise = self.room("noise", parameter, count, wide)
        generator = self.generator(parameter.device)
        for lamda, w, p in draw_chunks((value,), (weights, noise)):
            rho = logistic_(torch.empty_like(p), generator)  # twice it, from here on
            rho.add_(lamda.clamp(-LARGEST_DRAWN, LARGEST_DRAWN), alpha=2)
            torch.abs(rho, out=p).div_(-group["temperature"]).sigmoid_()
            torch.copysign(torch.mul(p, -2).add_(1), rho, out=w)  # |tanh(x)| = 1 - 2 p
        return weights, noise

    def terms(self, noise: Tensor, grads: Tensor) -> tuple[Tensor, ...]:
        """Return (1 - w^2) g / 4 at each draw; g of the mean weights."""
        if not self.train_draws:
            return (grads,)
        for p, g in draw_chunks((), (noise, grads)):
            p.addcmul_(p, p, value=-1).mul_(g)
        return (noise,)

    def learn(self, group: Group, parameter: Tensor, sums: Sequence[Tensor], count: int) -> None:
        """Apply the equations of mode "posterior", a chunk of each tensor at a time."""
        state, beta, step = self.state[parameter], group["momentum"], self.lr_now(group)
        lamda, kappa = state["lambda"], self.kappa(group)
        factor, largest, bound = self.scale(group, lamda.dtype, count)
        if beta and "m" not in state:
            state["m"] = torch.zeros_like(lamda)
        kept = [state[name] for name in ("prior", "m") if name in state]
        for value, total, weight, *its in chunks(lamda, *sums, parameter, *kept):
            natural = by_mean(total, value) if self.train_draws else total.clone()
            natural.clamp_(-largest, largest).mul_(factor)
            natural.add_(total, alpha=0)  # an infinite gradient is not cut, but makes lambda NaN
            if kappa:
                natural.add_(value, alpha=kappa)
                if "prior" in state:
                    natural.sub_(its[0], alpha=kappa)
            if beta:
                natural = its[-1].lerp_(natural, 1 - beta)
            subtract(value, natural, step).clamp_(-bound, bound)
            write_signs(value, weight)

    def task_ended(self, context: TaskContext) -> None:  # noqa: ARG002
        """Make the posterior the next task's prior, if it is `previous`."""
        if self.mode == "posterior" and self.prior == "previous":
            for parameter in self.learned():
                state = self.state[parameter]
                state["prior"] = state["lambda"].clone()

    def draw(self, parameter: Tensor) -> Tensor:
        """Return signs drawn from the posterior; refuse mode "sign", which has none."""
        if self.mode == "sign":
            raise UsageError("BayesBiNN has no posterior to draw weights from with mode='sign'")
        return super().draw(parameter)

    def diagnostics(self) -> dict[str, float]:
        """Return the share of saturated weights; nothing in mode "sign"."""
        return super().diagnostics() if self.mode == "posterior" else {}
