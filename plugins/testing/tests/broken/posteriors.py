"""Optimizers with a posterior, and what is wrong with their draws."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bnnlab.families.posterior import BernoulliOptimizer
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from broken import found_by, optimizers, right

DIFFER = "test_drawn_weights_are_signs_and_differ"


@right(
    "test_the_deployed_weights_are_what_predictive_of_zero_shows",
    "test_drawn_weights_are_put_back",
    "test_drawn_weights_are_signs_and_differ",
    "test_a_draw_that_is_cut_short_is_put_back",
    "test_draws_come_from_the_seed",
    "test_draws_follow_what_was_learned",
    "test_a_task_and_a_draw_leave_frozen_parameters_alone",
)
class Fine(optimizers.Fine):
    """Flips a fifth of the weights in each draw."""

    provides = ["posterior"]

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.generator = generator

    def draw(self, weight: Tensor) -> Tensor:
        """Return a draw; the wrong ones return a wrong one."""
        flipped = torch.rand(weight.shape, generator=self.generator) < 0.2
        return torch.where(flipped.to(weight.device), -weight, weight)

    @torch.no_grad()
    def predictive(self, n: int) -> Iterator[None]:
        parameters = [parameter for parameter in self.learned() if parameter.requires_grad]
        deployed = [parameter.clone() for parameter in parameters]
        try:
            for _ in range(n or 1):
                for parameter, weight in zip(parameters, deployed, strict=True):
                    parameter.copy_(self.draw(weight) if n else weight)
                yield
        finally:
            for parameter, weight in zip(parameters, deployed, strict=True):
                parameter.copy_(weight)


@found_by(DIFFER, "holds more than -1 and")
class DrawsMeans(Fine):
    """Draws weights between the signs."""

    def draw(self, weight: Tensor) -> Tensor:
        return 0.9 * super().draw(weight)


@found_by(DIFFER, "three draws are all the same")
class DrawsOneThing(Fine):
    """Draws the deployed weights each time."""

    def draw(self, weight: Tensor) -> Tensor:
        return weight


@found_by("test_draws_come_from_the_seed", "two seeds draw the same")
class DrawsUnseeded(Fine):
    """Draws from a generator of its own."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.generator = torch.Generator().manual_seed(0)


@found_by("test_the_deployed_weights_are_what_predictive_of_zero_shows", "changed|more than once")
@found_by("test_drawn_weights_are_put_back")
class Draws(optimizers.Fine):
    """Draws weights and leaves them there, also when asked for the deployed ones."""

    def predictive(self, n: int) -> Iterator[None]:
        for _ in range(n or 2):
            self.learned()[0].data.neg_()
            yield


@found_by("test_a_draw_that_is_cut_short_is_put_back", "changed")
class RestoresAtTheEnd(Fine):
    """Puts the weights back only if it is let to the end."""

    @torch.no_grad()
    def predictive(self, n: int) -> Iterator[None]:
        deployed = [parameter.clone() for parameter in self.learned()]
        for _ in range(n or 1):
            for parameter, weight in zip(self.learned(), deployed, strict=True):
                parameter.copy_(self.draw(weight) if n else weight)
            yield
        for parameter, weight in zip(self.learned(), deployed, strict=True):
            parameter.copy_(weight)


@found_by("test_a_task_and_a_draw_leave_frozen_parameters_alone", "draws a frozen parameter")
class DrawsFrozenOnes(Fine):
    """Draws every weight of its group, frozen or not."""

    def predictive(self, n: int) -> Iterator[None]:
        frozen = [parameter for parameter in self.learned() if not parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield from super().predictive(n)
        for parameter in frozen:
            parameter.requires_grad_(False)


class Samples(BernoulliOptimizer):
    """Learns lambda at draws of the weights."""

    provides = ["posterior"]
    declared = Fine.declared + "Option('test_draws', int, 10, 'Draws per evaluation.', minimum=0),"

    def __init__(self, model: Model, *, lr: float = 0.05, test_draws: int = 10, **given: Any):
        super().__init__(model, lr=lr, test_draws=test_draws, **given)

    def sample(self, group: Group, parameter: Tensor) -> tuple[Tensor, Tensor]:
        rho = self.rho(parameter, 1)
        return torch.where(rho > 0, 1.0, -1.0).to(rho), rho

    def update(
        self, group: Group, parameter: Tensor, weights: Tensor, noise: Tensor, grads: Tensor
    ) -> None:
        self.state[parameter]["lambda"].sub_(grads[0], alpha=group["lr"])
        self.write(parameter)


class Decays(Samples):
    """Pulls lambda to 0 in each step, whatever the learning rate is."""

    def update(
        self, group: Group, parameter: Tensor, weights: Tensor, noise: Tensor, grads: Tensor
    ) -> None:
        self.state[parameter]["lambda"].mul_(0.9)
        super().update(group, parameter, weights, noise, grads)


@found_by("test_an_infinite_gradient_at_a_draw_is_noticed", "cut to a number")
class CutsInfinity(Samples):
    """Bounds lambda, and so hides that a gradient was infinite."""

    def update(
        self, group: Group, parameter: Tensor, weights: Tensor, noise: Tensor, grads: Tensor
    ) -> None:
        super().update(group, parameter, weights, noise, grads)
        self.state[parameter]["lambda"].clamp_(-2, 2)


PRESENT = "test_draws_are_of_the_present_posterior"


@found_by(PRESENT, "since an evaluation, draws are not those of the state")
class KeepsItsProbabilities(Samples):
    """Computes what it draws from once in a task."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.kept: dict[Tensor, Tensor] = {}

    def task_started(self, context: TaskContext) -> None:
        super().task_started(context)
        self.kept.clear()

    def draw(self, parameter: Tensor) -> Tensor:
        if parameter not in self.kept:
            self.kept[parameter] = torch.sigmoid(2 * self.state[parameter]["lambda"])
        p = self.kept[parameter]
        u = torch.rand(p.shape, generator=self.generator(p.device), device=p.device)
        return torch.where(u < p, 1.0, -1.0)


@right(PRESENT)
class ComputesItsProbabilities(KeepsItsProbabilities):
    """Computes it anew."""

    def draw(self, parameter: Tensor) -> Tensor:
        self.kept.clear()
        return super().draw(parameter)


@found_by("test_evaluation_changes_no_state", "generator")
class AdvancesTheGenerator(Samples):
    """Draws for evaluations as for training, and does not turn the generator back."""

    def predictive(self, n: int) -> Iterator[None]:
        yield from super().predictive(n)
        torch.rand(n, generator=self._generator)


@found_by("test_evaluation_changes_no_state", "lambda")
class WearsOut(Samples):
    """Makes the posterior wider with each draw."""

    def draw(self, parameter: Tensor) -> Tensor:
        self.state[parameter]["lambda"].mul_(0.9)
        return super().draw(parameter)


@found_by("test_the_global_state_is_left_alone", "generator")
class EvaluatesUnseeded(Samples):
    """Draws for evaluations from torch's global generator."""

    def draw(self, parameter: Tensor) -> Tensor:
        p = torch.sigmoid(2 * self.state[parameter]["lambda"])
        return torch.where(torch.rand_like(p) < p, 1.0, -1.0).to(p)


@found_by("test_draws_follow_what_was_learned", "that is chance")
class FlipsCoins(Samples):
    """Draws either sign as often, whatever the posterior."""

    def draw(self, parameter: Tensor) -> Tensor:
        heads = torch.rand(parameter.shape, generator=self.generator(parameter.device)) < 0.5
        return torch.where(heads, 1.0, -1.0)


@found_by("test_test_draws_is_what_the_option_says", "with the option test_draws=11")
class FixesItsDraws(Samples):
    """Draws ten times, whatever the option says."""

    def __init__(self, model: Model, *, test_draws: int = 10, **given: Any) -> None:
        super().__init__(model, **given)
