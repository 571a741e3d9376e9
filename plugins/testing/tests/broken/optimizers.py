"""Optimizers: their steps and state."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.elementwise import chunks
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab_testing import toy
from broken import found_by, right

GOES_ON = "test_an_interrupted_run_goes_on_bit_for_bit"
SEEDED = "test_what_it_seeds_in_use_follows_the_seed"
SIGNS = "test_binary_weights_are_exactly_signs_after_every_step"
ANOTHER_WAY = "a run goes another way"


class Fine(toy.ToyOptimizer):
    """Does all that is asked."""

    declared = "Option('lr', float, 0.05, 'Learning rate.'),"

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        changed = [self.change(p, g) for p, g in zip(parameters, grads, strict=True)]
        super().update(group, parameters, values, changed)

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        """Return what to descend along; the wrong ones return something wrong."""
        return grad

    def latents(self) -> list[Tensor]:
        """Return all latent weights."""
        return [self.state[parameter]["latent"] for parameter in self.learned()]


@found_by("test_a_stack_learns_as_each_alone", "in a stack of three")
class DividesByTheNorm(Fine):
    """Divides a gradient by its norm, and says that it acts on each number apart."""

    stackable = True

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad / (1 + grad.norm())


@found_by("test_latent_weights_are_declared_as_they_are", "let it provide 'latent-weights'")
class KeepsQuiet(Fine):
    """Does not say that it keeps latent weights."""


@found_by("test_latent_weights_are_declared_as_they_are", "and a weight has none")
class KeepsNone(Optimizer):
    """Says that it keeps them, and has its base class keep none."""

    declared = None
    provides = ["latent-weights"]

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, lr=lr, generator=generator)

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        return closure()


# -------------------------------------------------------------------- a step


@found_by(SIGNS, "holds more than -1 and")
class Halves(Fine):
    """Leaves 0.5 in a binary weight of a convolution."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            if parameter.dim() == 4:
                parameter.data.view(-1)[0] = 0.5
        return loss


@found_by(SIGNS, "holds more than -1 and")
@found_by(GOES_ON, "holds more than -1 and")
class SignsAtTheEnd(Fine):
    """Has the latent weights in the model, and signs only when a task ends."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = super().step(closure)
        for parameter, latent in zip(self.learned(), self.latents(), strict=True):
            parameter.data.copy_(latent)
        return loss

    def task_ended(self, context: TaskContext) -> None:
        for parameter in self.learned():
            parameter.data.copy_(torch.copysign(torch.ones(()), parameter.data))


@found_by("test_real_parameters_are_trained_and_stay_real", "is not trained")
class IgnoresReal(Fine):
    """Updates binary weights alone."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad if "latent" in self.state[parameter] else 0 * grad


@found_by("test_real_parameters_are_trained_and_stay_real", "was made binary")
class MakesAllBinary(Fine):
    """Makes signs of real parameters too."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = super().step(closure)
        for parameter in self.param_groups[1]["params"]:
            parameter.data.copy_(torch.copysign(torch.ones(()), parameter.data))
        return loss


@found_by("test_a_step_calls_the_closure_and_returns_a_loss", "does not return the closure's loss")
class Deaf(Fine):
    """Does not return what the closure does."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        return super().step(closure) + 7


@found_by("test_a_step_calls_the_closure_and_returns_a_loss", "as a tensor; it returned None")
class ReturnsNothing(Fine):
    """Returns no loss."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        super().step(closure)
        return None


@found_by("test_a_step_calls_the_closure_and_returns_a_loss", "calls the closure 2 times")
class StepsTwice(Fine):
    """Calls the closure twice from its second step on, though nothing requires that."""

    again = False

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        if self.again:
            closure()
        self.again = True
        return super().step(closure)


@found_by("test_it_finds_the_best_of_all_weights", "the sign that raises the loss\n")
class GoesUp(Fine):
    """Adds the gradient."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return -grad


@found_by(
    "test_it_finds_the_best_of_all_weights",
    r"only slow.* --set optimizer.broken.optimizers.goesslowly.steps=600",
)
class GoesSlowly(Fine):
    """Makes smaller and smaller steps."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        state = self.state[parameter]
        state["steps"] = state.get("steps", 0) + 1
        return grad / state["steps"] ** 2


@found_by("test_gradients_of_zero_do_no_harm")
class Divides(Fine):
    """Divides by the size of the gradient."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad / grad.norm()


@found_by("test_a_huge_gradient_leaves_finite_numbers", "not finite")
class RaisesToAPower(Fine):
    """Takes gradients to the seventh power."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad**7


@found_by("test_the_same_seed_gives_the_same", "with the same seed differ")
@found_by("test_the_global_state_is_left_alone", "generator")
class Unseeded(Fine):
    """Draws noise from torch's global generator."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad + torch.randn_like(grad)


@found_by("test_what_it_draws_at_first_follows_its_seed", "two seeds draw the same sizes")
class BeginsAlike(Fine):
    """Draws its latent weights from a generator of its own."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=torch.Generator().manual_seed(0), lr=lr)


@found_by("test_the_order_of_parameters_does_not_matter", "depends on the order")
class ByIndex(Fine):
    """Learns the later weights of a group faster."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        scaled = [grad * (1 + index) for index, grad in enumerate(grads)]
        super().update(group, parameters, values, scaled)


@found_by("test_what_it_keeps_behind_a_weight_has_its_shape_and_sign", "differ in sign")
class SaysTheNegative(Fine):
    """Has the signs of its latent weights wrong."""

    def latent(self, parameter: Tensor) -> Tensor | None:
        latent = super().latent(parameter)
        return None if latent is None else -latent


@found_by("test_updating_in_chunks_changes_nothing", "in chunks of 100, tensors differ")
class ScalesChunks(Fine):
    """Divides each chunk's gradients by their own largest."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        for value, grad in zip(values, grads, strict=True):
            for part, its in chunks(value, grad):
                part.sub_(its / its.abs().max(), alpha=group["lr"])


@found_by("test_the_layout_in_memory_changes_nothing", "another layout in memory")
class ReadsMemory(Fine):
    """Adds the weights to their gradients in the order in which they lie in memory."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        lying = parameter.detach().as_strided((parameter.numel(),), (1,))
        return grad + lying.view(grad.shape)


# -------------------------------------------------------------------- state


@right(
    GOES_ON,
    "test_the_same_seed_gives_the_same",
    "test_copies_go_on_as_the_original",
    "test_it_learns_in_half_precision_or_refuses",
)
class KeepsAGenerator(Fine):
    """Adds noise; the generator's state is in its own, under no parameter."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.generator = generator
        self.state["generator"] = generator.get_state()

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        self.generator.set_state(self.state["generator"])
        noise = 1e-3 * torch.rand((), generator=self.generator)
        self.state["generator"] = self.generator.get_state()
        super().update(group, parameters, values, [grad + noise for grad in grads])


@found_by("test_its_state_is_as_large_as_declared", "^4 bytes a weight")
class SaysTwiceAsMuch(Fine):
    """Declares twice the state that it has."""

    fields = {"state_bytes": 8}


@found_by("test_its_state_follows_the_model_to_another_dtype", "dtype")
class KeepsItsDtype(Fine):
    """Pulls weights back to where they began, which is in no state."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.start = {parameter: parameter.detach().clone() for parameter in model.parameters()}

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad.lerp(self.start[parameter], 0.01)


@found_by(GOES_ON, ANOTHER_WAY)
class Scattered(Fine):
    """Keeps its momentum outside `state_dict`."""

    velocity = 0.0

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        self.velocity += float(grad.abs().sum())
        return grad + self.velocity


@found_by(GOES_ON, ANOTHER_WAY)
class KeepsItsAnchors(Fine):
    """Is held where the last task ended, by anchors outside `state_dict`."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.anchors: dict[Tensor, Tensor] = {}

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        value = self.state[parameter].get("latent", parameter)
        return grad + value - self.anchors.get(parameter, value)

    def task_ended(self, context: TaskContext) -> None:
        latents = [latent.clone() for latent in self.latents()]
        self.anchors = dict(zip(self.learned(), latents, strict=True))


@found_by(GOES_ON, ANOTHER_WAY)
class RestsEveryFifthStep(Fine):
    """Learns nothing in every fifth step; an attribute counts."""

    steps = 0

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        self.steps += 1
        return super().step(closure)

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad * (self.steps % 5 > 0)


@found_by(GOES_ON, ANOTHER_WAY)
class CountsSteps(Fine):
    """Divides by the steps of the task at its end; they are an attribute."""

    steps = 0

    def task_started(self, context: TaskContext) -> None:
        self.steps = 0

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        self.steps += 1
        return super().step(closure)

    def task_ended(self, context: TaskContext) -> None:
        for latent in self.latents():
            latent /= 1 + self.steps


@found_by(GOES_ON, ANOTHER_WAY)
class KeepsByAddress(Fine):
    """Averages gradients, each under its parameter's address, which a new process does not have."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.param_groups[0]["means"] = {}

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        means = self.param_groups[0]["means"]
        means[id(parameter)] = 0.9 * means.get(id(parameter), 0.0) + float(grad.mean())
        return grad + means[id(parameter)]


@found_by(GOES_ON, ANOTHER_WAY)
class BeginsAgainAfterALoad(Fine):
    """Clears its averages where they are loaded."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        state = self.state[parameter]
        state["mean"] = 0.9 * state.get("mean", torch.zeros_like(grad)) + grad
        return state["mean"]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state.pop("mean", None)


# -------------------------------------------------------------------- zeros and votes


@found_by("test_a_latent_weight_of_zero_has_a_sign", "holds more than -1 and")
class SignsOfTorch(Fine):
    """Writes torch's signs, of which that of 0 is 0."""

    def write(self, parameters: Sequence[Tensor], latents: Sequence[Tensor]) -> None:
        for parameter, latent in zip(parameters, latents, strict=True):
            parameter.copy_(latent.sign())


@found_by(
    "test_it_finds_the_best_of_all_weights", "and none has moved.*require the capability of rules"
)
class CountsVotes(Optimizer):
    """Flips a weight against the sum of whole gradients, and does not say that it needs such."""

    declared = None

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, lr=lr, generator=generator)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = closure()
        for weight in self.learned():
            votes = weight.grad.clamp(-1, 1).to(torch.int8)
            weight.copy_(torch.where(votes * weight > 0, -weight, weight))
        self.step_real()
        return loss


@found_by("test_what_signs_hide_is_noticed", "of nan with a loss of 0.0 is not refused by look")
class TakesNoNumberForNone(Fine):
    """Learns nothing from a gradient that is no number, and says nothing."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad.nan_to_num_()


@found_by(SEEDED, r"at optimizers.py:\d+ a random generator is seeded the same")
class DrawsByCounting(Fine):
    """Adds noise to gradients, from a generator that is seeded by a count of steps."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        state = self.state[parameter]
        state["steps"] = state.get("steps", 0) + 1
        draws = torch.Generator().manual_seed(state["steps"] + self.key())
        return grad + 0.01 * torch.randn(grad.shape, generator=draws)

    def key(self) -> int:
        """Return what is added to the count."""
        return 0


@right(SEEDED, GOES_ON)
class DrawsByCountingFromItsSeed(DrawsByCounting):
    """Begins to count at a number that was drawn."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.param_groups[0]["key"] = int(torch.randint(2**31, (), generator=generator))

    def key(self) -> int:
        key: int = self.param_groups[0]["key"]
        return key


@found_by(SEEDED, r"at optimizers.py:\d+ a random generator is seeded the same")
class DrawsFromNumPy(Fine):
    """Adds noise to gradients, from a generator of NumPy's that begins alike in every run."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad + 0.01 * self.number(self.state[parameter].setdefault("key", self.key()))

    def key(self) -> int:
        """Return a seed."""
        return 0

    def number(self, key: int) -> float:
        """Return a number that is drawn."""
        return np.random.default_rng(key).random()


@found_by(SEEDED, r"at optimizers.py:\d+ a random generator is seeded the same")
class DrawsAsNumPyOnceDid(DrawsFromNumPy):
    """Draws from one of the old kind."""

    def number(self, key: int) -> float:
        return RandomState(key).rand()


@found_by(SEEDED, r"at optimizers.py:\d+ a random generator is seeded the same")
class DrawsFromPython(DrawsFromNumPy):
    """Draws from one of Python's."""

    def number(self, key: int) -> float:
        return random.Random(key).random()


@right(SEEDED, GOES_ON)
class DrawsFromNumPyByItsSeed(DrawsFromNumPy):
    """Seeds it with a number that was drawn."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.param_groups[0]["key"] = int(torch.randint(2**31, (), generator=generator))

    def key(self) -> int:
        key: int = self.param_groups[0]["key"]
        return key


@found_by("test_every_parameter_goes_downhill", "segments.0.0.weight moves along its gradient")
class GoesUpInConvolutions(Fine):
    """Adds the gradient where there are four dimensions."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return -grad if grad.ndim == 4 else grad


@found_by("test_every_parameter_goes_downhill", "segments.0.0.bias moves along its gradient")
class GoesUpInBiases(Fine):
    """Adds the gradient where there is one dimension."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return -grad if grad.ndim == 1 else grad


@found_by("test_changed_settings_are_loaded", r"saved with lr .0.0125, .*loaded with .0.05, ")
class KeepsItsRate(Fine):
    """Has the learning rate that it was made with, whatever it loads."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        rates = [group["lr"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, rate in zip(self.param_groups, rates, strict=True):
            group["lr"] = rate


@found_by("test_asking_for_what_is_behind_changes_nothing", r"latent\(\) changes .*latent")
class BoundsAsItIsAsked(Fine):
    """Bounds its latent weights where somebody asks for them."""

    def latent(self, parameter: Tensor) -> Tensor | None:
        latent = super().latent(parameter)
        with torch.no_grad():
            return None if latent is None else latent.clamp_(-0.05, 0.05)


@right(
    "test_a_parted_group_has_an_lr_of_its_own",
    "test_the_lr_of_every_group_is_read_at_each_step",
    "test_a_group_of_new_real_parameters_is_learned",
)
class WaitsForFour(Fine):
    """Descends along the mean gradient of four steps, in the last of them."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        state = self.state[parameter]
        state["steps"] = state.get("steps", 0) + 1
        state["sum"] = state.get("sum", 0) + grad
        if state["steps"] % 4:
            return torch.zeros_like(grad)
        return state.pop("sum") / 4


@right("test_weights_that_are_loaded_are_learned_from")
class FlipsByNoise(Optimizer):
    """Flips a weight against a noisy average of gradients."""

    declared = None

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, lr=lr, generator=generator)
        for weight in self.learned():
            self.state[weight]["m"] = torch.zeros_like(weight)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = closure()
        for weight in self.learned():
            m = self.state[weight]["m"]
            noise = torch.randn(m.shape, generator=self.generator(m.device))
            m.lerp_(weight.grad + 2e-4 * noise, 0.1)
            weight.copy_(torch.where(m * weight > 2e-4, -weight, weight))
        self.step_real()
        return loss

    def adopt(self, parameter: Tensor) -> None:
        m = self.state[parameter]["m"]
        m.copy_(torch.where(m * parameter > 2e-4, 0.0, m))
