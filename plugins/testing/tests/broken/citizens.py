"""Optimizers that are surprised by what others do between their steps."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from broken import found_by
from broken.optimizers import GOES_ON, Fine


@found_by("test_weights_that_are_loaded_are_learned_from", "loaded weights are lost")
class HidesItsLatents(Fine):
    """Writes weights from what it keeps, and shows a copy of that."""

    def latent(self, parameter: Tensor) -> Tensor | None:
        latent = super().latent(parameter)
        return None if latent is None else latent.clone()


@found_by("test_weights_that_are_loaded_are_learned_from", "loaded weights are lost")
class WritesAsItWas(Fine):
    """Keeps no latent weights behind its own: it says so, and writes them all the same."""

    def latent(self, parameter: Tensor) -> Tensor | None:
        return None


@found_by("test_weights_that_nobody_wrote_are_adopted_without_a_change", "which nobody wrote")
class AdoptsAnew(Fine):
    """Gives what is adopted another size."""

    def adopt(self, parameter: Tensor) -> None:
        self.state[parameter]["latent"].copy_(0.01 * parameter)


@found_by(GOES_ON, "count")
class LoadsFloats(Fine):
    """Counts in integers, and in floats since it was loaded."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        for parameter in self.learned():
            self.state[parameter]["count"] = torch.zeros((), dtype=torch.int32)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for parameter in self.learned():
            self.state[parameter]["count"] = self.state[parameter]["count"].float()


@found_by("test_a_frozen_parameter_is_left_alone", "a step changes frozen parameters")
class KnowsItsParameters(Fine):
    """Decays what the model had when it was made, frozen or not."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.real = [p for group in self.param_groups[1:] for p in group["params"]]

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = super().step(closure)
        for parameter in self.real:
            parameter.data.mul_(0.99)
        return loss


@found_by(
    "test_a_task_and_a_draw_leave_frozen_parameters_alone",
    "changes frozen weights, or what is behind",
)
class TightensAll(Fine):
    """Shrinks what is behind its weights when a task ends, frozen or not."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.all = self.latents()

    def task_ended(self, context: TaskContext) -> None:
        for latent in self.all:
            latent.mul_(0.5)


@found_by("test_copies_go_on_as_the_original", "Can't|cannot|local")
class KeepsALambda(Fine):
    """Has an attribute that nothing can copy to another process."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.schedule = lambda step: step


@found_by("test_copies_go_on_as_the_original", "goes another way")
class KnowsItsWeights(Fine):
    """Keeps numbers by the address of their parameter, which a copy has not."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.rates = {id(parameter): 1.0 for parameter in model.parameters()}

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return self.rates.get(id(parameter), 1e-3) * grad


@found_by("test_a_group_of_new_real_parameters_is_learned", "velocity")
class PreparesItsState(Fine):
    """Makes state when it is made, and none for what comes later."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        for parameter in model.parameters():
            self.state[parameter]["velocity"] = torch.zeros_like(parameter)

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return self.state[parameter]["velocity"].mul_(0.5).add_(grad)


@found_by("test_what_signs_hide_is_noticed", "of nan with a loss of 0.0 is not refused by look")
@found_by("test_what_goes_round_torchs_count_of_writes_is_refused", "is not refused by look")
class LooksAway(Fine):
    """Does not look at what signs hide."""

    def look(self) -> None:
        pass


@found_by("test_torchs_schedulers_work_or_are_refused", "LambdaLR was made, and then")
class CountsOnItsSchedule(Fine):
    """Fails where a scheduler wrote something into its groups."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        assert "initial_lr" not in group
        super().update(group, parameters, values, grads)


@found_by("test_it_learns_in_half_precision_or_refuses", "not finite")
class RoundsItsLatents(Fine):
    """Divides by what float16 rounds to 0."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad / (grad * 0 + 1e-9) * 1e-9
