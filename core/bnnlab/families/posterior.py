"""Optimizers with a posterior over the weights, which learn from draws."""

import logging
import operator
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.families.noise import logistic_
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.elementwise import Room, draw_chunks
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab.interfaces.rule import Closure, evaluate_draws
from bnnlab.markers import AtLeast, Positive

log = logging.getLogger(__name__)

SATURATED = 1e-3
"""A binary weight is saturated if the probability of one of its signs is below this."""
WARN_ABOVE = 0.99
"""The log warns if a larger share of the weights is saturated."""


class PosteriorOptimizer(Optimizer):
    """An optimizer with a posterior over the weights. It learns from gradients at draws.

    A step makes S weight draws, evaluates the batch at each (in one pass if the rule can do it),
    updates the posterior, and writes the deployed weights. Adam updates the other parameters.

    Args:
        generator: Source of the weight draws.
        train_draws: S, the number of weight draws per step.
        test_draws: C, the number of weight draws that an evaluation averages over. 0: the deployed
            weights.
        examples: Examples in the training data. None: those of the task.
        batch_size: Examples per step. None: the size of the batch; for a closure that no rule
            made, the size that `task_started` told.

    Attributes:
        room: Memory that is used again in each step, for what `sample` returns.
    """

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        lr: Positive,
        real_lr: Positive | None = 0.001,
        train_draws: Annotated[int, AtLeast(1)] = 1,
        test_draws: Annotated[int, AtLeast(0)] = 10,
        examples: Annotated[int, AtLeast(1)] | None = None,
        batch_size: Annotated[int, AtLeast(1)] | None = None,
        settings: Mapping[str, Any] = MappingProxyType({}),
        weights: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__(
            model, lr=lr, real_lr=real_lr, settings=settings, weights=weights, generator=generator
        )
        self.train_draws, self.test_draws = train_draws, test_draws
        self.room = Room()
        self._told = {"examples": examples, "batch_size": batch_size}
        self.param_groups[0].update(self._told)

    @abstractmethod
    def sample(self, group: Group, parameter: Tensor) -> tuple[Tensor, Tensor]:
        """Return S weight draws and the noise that made them, both `(S, *parameter.shape)`.

        Args:
            group: The parameter group, with its settings.
            parameter: The learned parameter, key of `self.state`.
        """

    @abstractmethod
    def update(
        self, group: Group, parameter: Tensor, weights: Tensor, noise: Tensor, grads: Tensor
    ) -> None:
        """Update the posterior of a parameter, and write its deployed weight into it.

        Args:
            group: The parameter group, with its settings.
            parameter: The learned parameter, key of `self.state`.
            weights: What `sample` returned.
            noise: What `sample` returned.
            grads: Gradient of the batch-mean loss at each of the S weights.
        """

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Make one step: draw, evaluate, update the posterior and the real parameters."""
        groups = {p: group for group in self.learned_groups() for p in group["params"]}
        if not groups:
            loss = closure()
            self.step_real()
            return loss
        if isinstance(closure, Closure) and self._told["batch_size"] is None:
            for group in self.learned_groups():
                group["batch_size"] = closure.batch_size
        loss = self._learn_at_draws(groups, closure)
        self.step_real()
        return loss

    def _learn_at_draws(
        self, groups: Mapping[Tensor, Group], closure: Callable[[], Tensor]
    ) -> Tensor:
        """Draw, evaluate and update the learned parameters, the keys of `groups`."""
        drawn = {p: self._of_members(p, "sample", group) for p, group in groups.items()}
        draws = {parameter: weights for parameter, (weights, _) in drawn.items()}
        if isinstance(closure, Closure):
            loss, grads = closure.at(draws)
        else:
            loss, grads = evaluate_draws(closure, draws, self._parameters())
        for parameter, (weights, noise) in drawn.items():
            if parameter in grads:
                self.update(groups[parameter], parameter, weights, noise, grads[parameter])
        return loss

    def _of_members(
        self, parameter: Tensor, draw: str, group: Group, *more: Any
    ) -> tuple[Tensor, Tensor]:
        """Return what a method draws; in a stack each member draws its own."""
        if parameter not in self._members:
            drawn: tuple[Tensor, Tensor] = getattr(self, draw)(group, parameter, *more)
            return drawn
        pairs = [getattr(own, draw)(group, p, *more) for own, p in self._members[parameter]]
        weights, noises = ([*each] for each in zip(*pairs, strict=True))
        stacked = torch.stack(weights, 1)
        is_one = all(map(operator.is_, weights, noises))
        return stacked, stacked if is_one else torch.stack(noises, 1)

    def count(self, group: Group, what: str) -> int:
        """Return `examples` or `batch_size`: the option's value, else that of the task.

        Raises:
            UsageError: If neither is known.
        """
        value: int | None = group[what]
        if value is None:
            raise UsageError(
                f"{type(self).__name__} must know {what}: give the option {what}, or call "
                "optimizer.task_started(bnnlab.TaskContext(...)) before the first step; a "
                "task_started of your own begins with super().task_started(context)"
            )
        return value

    def task_started(self, context: TaskContext) -> None:
        """Take the sizes from the task, unless options set them."""
        sizes = {"examples": len(context.task.train), "batch_size": context.batch_size}
        told = {name: size for name, size in sizes.items() if self._told[name] is None}
        for group in self.learned_groups():
            group.update(told)


class BernoulliOptimizer(PosteriorOptimizer):
    """A posterior of independent binary weights: P(w = +1) = sigmoid(2 lambda).

    lambda is the natural parameter, `self.state[w]["lambda"]`. The mean of w is tanh(lambda), and
    the deployed weight is the sign of lambda. lambda starts with its weight's sign.

    With u uniform in (0, 1) and rho = lambda + log(u / (1 - u)) / 2, sign(rho) is a draw from the
    posterior, and tanh(rho / temperature) its relaxation, which has a derivative with respect to
    lambda (Maddison, Mnih and Teh, "The Concrete Distribution", ICLR 2017; Meng, Bachmann and Khan,
    "Training Binary Neural Networks using the Bayesian Learning Rule", ICML 2020, eq. 11).

    Args:
        lambda_init: Largest size of a fresh natural parameter; None: 1 / sqrt(fan-in). With 0 the
            posterior begins as the uniform one.
        lambda_start: Sizes of fresh natural parameters. uniform: drawn uniformly from 0 to the
            largest. fixed: the largest for all.
        posterior: Arguments of `PosteriorOptimizer`.
    """

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        lambda_init: Annotated[float, AtLeast(0)] | None = None,
        lambda_start: Literal["uniform", "fixed"] = "uniform",
        **posterior: Any,
    ) -> None:
        super().__init__(model, generator=generator, **posterior)
        self._warned = False
        for parameter in self.learned():
            fan_in = parameter[0].numel()
            largest = fan_in**-0.5 if lambda_init is None else lambda_init
            size = torch.full(parameter.shape, float(largest))
            if lambda_start == "uniform":
                size = torch.rand(parameter.shape, generator=generator) * largest
            self.state[parameter]["lambda"] = parameter.detach() * size.to(parameter)

    def latent(self, parameter: Tensor) -> Tensor | None:
        """Return lambda of a binary parameter; a real parameter itself."""
        value: Tensor | None = self.state.get(parameter, {}).get("lambda")
        return super().latent(parameter) if value is None else value

    def rho(self, parameter: Tensor, count: int) -> Tensor:
        """Return `count` values of lambda + log(u / (1 - u)) / 2: `(count, *parameter.shape)`.

        u is `bnnlab.families.noise.uniform_`'s, of 16 bits.
        """
        found = parameter.new_empty((count, *parameter.shape))
        generator = self.generator(parameter.device)
        for value, rho in draw_chunks((self.state[parameter]["lambda"],), (found,)):
            logistic_(rho, generator).mul_(0.5).add_(value)
        return found

    def draw(self, parameter: Tensor) -> Tensor:
        """Return signs drawn from the posterior."""
        p = torch.sigmoid(2 * self.state[parameter]["lambda"])
        u = torch.empty_like(p).uniform_(generator=self.generator(p.device))
        # u < p with probability p; u = 0 must not give +1 where p = 0.
        return u.lt_(p).mul_(2).sub_(1)

    def write(self, parameter: Tensor) -> None:
        """Write the signs of lambda into the model."""
        value = self.state[parameter]["lambda"]
        torch.copysign(value.new_ones(()), value, out=parameter)

    def diagnostics(self) -> dict[str, float]:
        """Return the share of saturated weights; warn once if it is above `WARN_ABOVE`."""
        values = [self.state[parameter]["lambda"] for parameter in self.learned()]
        if not values:
            return {}
        p_other = [torch.sigmoid(-2 * value.abs()) for value in values]
        many = sum(int((p < SATURATED).sum()) for p in p_other)
        share = many / sum(value.numel() for value in values)
        if share > WARN_ABOVE and not self._warned:
            self._warned = True
            log.warning(
                "%.1f %% of the posterior is saturated: draws are all but the deployed weights, "
                "and uncertainties mean nothing",
                100 * share,
            )
        return {"saturated": share}
