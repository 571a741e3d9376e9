"""Optimizers: their steps, settings and tasks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnnlab.model import Model
from bnnlab.optimizer import Group, Optimizer, TaskContext
from bnnlab.testing import toy
from broken import found_by, right

GOES_ON = "test_an_interrupted_run_goes_on_bit_for_bit"
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


@found_by("test_it_finds_the_best_of_all_weights", "the sign that raises the loss")
class GoesUp(Fine):
    """Adds the gradient."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return -grad


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


# -------------------------------------------------------------------- state


@right
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


# -------------------------------------------------------------------- tasks


@found_by("test_a_tasks_end_leaves_the_model_fit_to_go_on", "holds more than -1 and")
class HalvesAtTheEnd(Fine):
    """Leaves averaged weights when a task ends."""

    def task_ended(self, context: TaskContext) -> None:
        for parameter in self.learned():
            parameter.data.mul_(0.5)


@found_by("test_a_tasks_end_leaves_the_model_fit_to_go_on", "does not put back model.training")
class LeavesItEvaluating(Fine):
    """Evaluates the model when a task ends, and leaves it so."""

    def task_ended(self, context: TaskContext) -> None:
        context.model.eval()


@found_by("test_a_tasks_end_leaves_the_model_fit_to_go_on", "requires_grad")
class Freezes(Fine):
    """Needs no gradients when a task ends, nor after it."""

    def task_ended(self, context: TaskContext) -> None:
        context.model.requires_grad_(False)


@found_by("test_a_tasks_end_leaves_the_model_fit_to_go_on", "one task is enough")
class LearnsOnce(Fine):
    """Breaks where a second task begins."""

    started = False

    def task_started(self, context: TaskContext) -> None:
        assert not self.started, "one task is enough"
        self.started = True


@found_by("test_the_global_state_is_left_alone", "generator")
class DrawsAtTheEnd(Fine):
    """Draws from torch's global generator when a task ends."""

    def task_ended(self, context: TaskContext) -> None:
        torch.rand(())


@found_by("test_what_it_keeps_behind_a_weight_has_its_shape_and_sign", "after task_started")
class FlipsAtTheStart(Fine):
    """Turns its weights when a task begins, and not what is behind them."""

    @torch.no_grad()
    def task_started(self, context: TaskContext) -> None:
        for parameter in self.learned():
            parameter.neg_()


@found_by("test_what_the_model_measures_is_left_alone", "^step.. changes the model's buffers")
class ClearsBuffers(Fine):
    """Zeroes what the model measures, after each step."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.measured = list(model.buffers())

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = super().step(closure)
        for buffer in self.measured:
            buffer.zero_()
        return loss


@found_by("test_what_the_model_measures_is_left_alone", "^task_ended.. changes")
class MeasuresAtTheEnd(Fine):
    """Runs the model in training mode when a task ends."""

    def task_ended(self, context: TaskContext) -> None:
        context.model(context.task.train.batch(torch.arange(3))[0])


@found_by("test_nothing_is_learned_from_the_test_part", "context.task.test.raw is read")
class PeeksAtTheStart(Fine):
    """Looks at the test data as a task begins."""

    def task_started(self, context: TaskContext) -> None:
        context.task.test.raw(torch.arange(3))


@found_by("test_nothing_is_learned_from_the_test_part", "len.context.task.test. is read")
class FitsAtTheEnd(Fine):
    """Counts the test data as a task ends."""

    def task_ended(self, context: TaskContext) -> None:
        len(context.task.test)


@found_by("test_nothing_is_learned_from_the_test_part", "it learns something else")
class CountsAllLabels(Fine):
    """Weighs by labels that are not all of the training part."""

    def task_ended(self, context: TaskContext) -> None:
        share = (context.task.train.labels == 0).float().mean()
        for latent in self.latents():
            latent *= share


# -------------------------------------------------------------------- diagnostics


@found_by("test_its_diagnostics_are_numbers_with_names_of_their_own", "not a Python number")
class SaysTensors(Fine):
    """Has a tensor among its diagnostics."""

    def diagnostics(self) -> dict[str, Any]:
        return {"size": torch.ones(3)}


@found_by("test_its_diagnostics_are_numbers_with_names_of_their_own", "writes 'loss' itself")
class SaysTheLoss(Fine):
    """Calls a diagnostic as the core does a number of its own."""

    def diagnostics(self) -> dict[str, float]:
        return {"loss": 0.5}


@found_by("test_its_diagnostics_change_nothing", "it learns something else")
class ChangesAsItSays(Fine):
    """Shrinks its latent weights each time it is asked for diagnostics."""

    def diagnostics(self) -> dict[str, float]:
        return {"size": float(self.latents()[0].mul_(0.9).abs().mean())}


# -------------------------------------------------------------------- settings


@found_by("test_a_parameter_group_may_be_parted", "is not learned")
class HasTwoGroups(Fine):
    """Updates the groups that it was made with."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        groups, self.param_groups = self.param_groups, self.param_groups[:2]
        loss = super().step(closure)
        self.param_groups = groups
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


@found_by("test_no_option_is_ignored", "no effect: .'decay'.")
class IgnoresADecay(Fine):
    """Has an option that does nothing."""

    declared = Fine.declared + "Option('decay', float, 0.0, 'Weight decay.', minimum=0),"

    def __init__(self, model: Model, *, decay: float = 0.0, **given: Any) -> None:
        super().__init__(model, **given)
        self.decay = decay


@found_by("test_no_option_is_ignored", "no effect: .'form'.")
class IgnoresAForm(Fine):
    """Has two names for the same."""

    declared = Fine.declared + "Option('form', Literal['a', 'b'], 'a', 'Which.'),"

    def __init__(self, model: Model, *, form: str = "a", **given: Any) -> None:
        super().__init__(model, **given)
        self.form = form


@found_by("test_no_option_is_ignored", "no effect: .'factors'.")
class ReadsTheFirstFactor(Fine):
    """Has a factor for each of two layers, and uses one."""

    declared = Fine.declared + "Option('factors', list[float], [1.0, 1.0], 'Of gradients.'),"

    def __init__(self, model: Model, *, factors: tuple[float, ...] = (1.0, 1.0), **given: Any):
        super().__init__(model, **given)
        self.factors = factors

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad * self.factors[0]
