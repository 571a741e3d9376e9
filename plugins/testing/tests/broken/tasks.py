"""Optimizers: what they do when a task begins or ends, and what they say of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from broken import found_by, right
from broken.optimizers import Fine


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


@right(
    "test_a_frozen_parameter_is_left_alone",
    "test_weights_that_are_loaded_are_learned_from",
    "test_an_interrupted_run_goes_on_bit_for_bit",
)
class SlowsToTheEnd(Fine):
    """Makes smaller and smaller steps, which are 0 at the end of a task."""

    def task_started(self, context: TaskContext) -> None:
        for parameter in context.model.parameters():
            self.state[parameter].update(left=context.steps, total=context.steps)

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        state = self.state[parameter]
        state["left"] = max(state["left"] - 1, 0)
        return grad * (state["left"] / state["total"])


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


@found_by("test_nothing_is_learned_from_the_test_part", "task.test.raw is read")
class PeeksAtTheStart(Fine):
    """Looks at the test data as a task begins."""

    def task_started(self, context: TaskContext) -> None:
        context.task.test.raw(torch.arange(3))


@found_by("test_nothing_is_learned_from_the_test_part", "len.task.test. is read")
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


@found_by("test_its_diagnostics_are_numbers_by_name", "not a Python number")
class SaysTensors(Fine):
    """Has a tensor among its diagnostics."""

    def diagnostics(self) -> dict[str, Any]:
        return {"size": torch.ones(3)}


@found_by("test_its_diagnostics_are_numbers_by_name", "writes 'loss' itself")
class SaysTheLoss(Fine):
    """Calls a diagnostic as the core does a number of its own."""

    def diagnostics(self) -> dict[str, float]:
        return {"loss": 0.5}


@found_by("test_its_diagnostics_change_nothing", "it learns something else")
class ChangesAsItSays(Fine):
    """Shrinks its latent weights each time it is asked for diagnostics."""

    def diagnostics(self) -> dict[str, float]:
        return {"size": float(self.latents()[0].mul_(0.9).abs().mean())}


@found_by(
    "test_a_tasks_end_leaves_the_model_fit_to_go_on", "a step does not put back model.training"
)
class EvaluatesInAStep(Fine):
    """Puts the model into evaluation mode in every step."""

    def task_started(self, context: TaskContext) -> None:
        self.state["model"] = context.model.eval

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        self.state["model"]()
        return super().step(closure)


@found_by("test_real_parameters_are_trained_and_stay_real", "of task 1, nothing is learned")
class SlowsDownOnce(Fine):
    """Makes smaller and smaller steps, which are 0 at the end of the first task, and stay so."""

    def task_started(self, context: TaskContext) -> None:
        for parameter in context.model.parameters():
            self.state[parameter].setdefault("total", context.steps)

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        state = self.state[parameter]
        state["steps"] = state.get("steps", 0) + 1
        return grad * max(1 - state["steps"] / state["total"], 0.0)
