"""Optimizers: their options and parameter groups."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer
from broken import found_by, right
from broken.optimizers import Fine


@found_by("test_a_parameter_group_may_be_parted", "is not learned")
class HasTwoGroups(Fine):
    """Updates the groups that it was made with."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        groups, self.param_groups = self.param_groups, self.param_groups[:2]
        loss = super().step(closure)
        self.param_groups = groups
        return loss


@right("test_a_parameter_group_may_be_parted")
class HasNoStateAtFirst(Optimizer):
    """Flips a weight against the average of its gradients, which begins with the first step."""

    declared = None

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, lr=lr, generator=generator)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = closure()
        for parameter in self.learned():
            if parameter.grad is not None:
                state = self.state[parameter]
                if "m" not in state:
                    state["m"] = torch.zeros_like(parameter)
                m = state["m"].lerp_(parameter.grad, 0.1)
                parameter.copy_(torch.where(m * parameter > 1, -parameter, parameter))
        self.step_real()
        return loss


@found_by("test_a_parted_group_has_an_lr_of_its_own", "is not read")
class ReadsTheFirstLR(Fine):
    """Reads the learning rate of the first group for all binary weights."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        lr = self.param_groups[0]["lr"] if group["binary"] else group["lr"]
        super().update({**group, "lr": lr}, parameters, values, grads)


@found_by("test_the_lr_of_every_group_is_read_at_each_step", "the learned weights' group")
class FixesLR(Fine):
    """Gives binary weights the learning rate that it was made with."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.lr = self.param_groups[0]["lr"]

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        lr = self.lr if group["binary"] else group["lr"]
        super().update({**group, "lr": lr}, parameters, values, grads)


@found_by(
    "test_the_lr_of_the_constructor_is_that_of_the_groups_alone", "if it is made with half the lr"
)
class DecaysByTheFirstLR(FixesLR):
    """Has a decay of the weights at the learning rate that it was made with."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        Fine.update(self, group, parameters, values, grads)
        for value in values:
            value.mul_(1 - 0.01 * self.lr)


@found_by("test_the_lr_of_every_group_is_read_at_each_step", "has no effect")
class Wraps(Optimizer):
    """Lets another optimizer make the steps, with groups of its own."""

    def __init__(self, model: Model, *, generator: torch.Generator) -> None:
        super().__init__(model, lr=0.05, generator=generator)
        self.inner = Fine(model, generator=generator)

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        return self.inner.step(closure)


@found_by("test_real_lr_is_the_real_parameters_own", "moves by .* with real_lr = 1e-9")
class IgnoresRealLR(Fine):
    """Has an option for the real parameters' learning rate, and no use for it."""

    declared = Fine.declared + "Option('real_lr', float, 0.05, 'Learning rate of the others.'),"

    def __init__(self, model: Model, *, real_lr: float = 0.05, **given: Any) -> None:
        super().__init__(model, **given)


@found_by("test_no_option_is_ignored", "no effect: decay .tried: ")
class IgnoresADecay(Fine):
    """Has an option that does nothing."""

    declared = Fine.declared + "Option('decay', float, 0.0, 'Weight decay.', minimum=0),"

    def __init__(self, model: Model, *, decay: float = 0.0, **given: Any) -> None:
        super().__init__(model, **given)
        self.decay = decay


@found_by("test_no_option_is_ignored", r"^with decay=.*: KeyError: 'decay'")
class LacksTheDecayOfAStep(IgnoresADecay):
    """Looks for a decay in its state, where it is not, unless it is 0."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        rate: Tensor = self.state[parameter]["decay"] if self.decay else grad
        return rate


@found_by("test_no_option_is_ignored", "no effect: form .tried: ")
class IgnoresAForm(Fine):
    """Has two names for the same."""

    declared = Fine.declared + "Option('form', Literal['a', 'b'], 'a', 'Which.'),"

    def __init__(self, model: Model, *, form: str = "a", **given: Any) -> None:
        super().__init__(model, **given)
        self.form = form


@found_by("test_no_option_is_ignored", "no effect: factors .tried: ")
class ReadsTheFirstFactor(Fine):
    """Has a factor for each of two layers, and uses one."""

    declared = Fine.declared + "Option('factors', list[float], [1.0, 1.0], 'Of gradients.'),"

    def __init__(self, model: Model, *, factors: tuple[float, ...] = (1.0, 1.0), **given: Any):
        super().__init__(model, **given)
        self.factors = factors

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad * self.factors[0]


PARTED = "test_a_parted_group_learns_as_in_one"

right(PARTED, "test_what_it_keeps_does_not_grow")(HasNoStateAtFirst)


@found_by(PARTED, "where a group is parted, .* learns something else")
class CountsUpdates(Fine):
    """Takes smaller steps with every group that it has updated, not with every step."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        first = self.param_groups[0]
        first["updates"] = first.get("updates", 0) + 1
        super().update(group, parameters, values, [grad / first["updates"] for grad in grads])


@found_by(PARTED, "where a group is parted, .* learns something else")
class NormalisesAGroup(Fine):
    """Divides gradients by the norm of all in their group."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        norm = torch.stack([grad.norm() for grad in grads]).norm()
        super().update(group, parameters, values, [grad / norm for grad in grads])
