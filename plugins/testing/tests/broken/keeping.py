"""Rules and optimizers whose memory grows."""

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.rule import Batch
from bnnlab_testing import toy
from broken import found_by, optimizers, right

GRAPH = "test_no_graph_is_kept"
GROWS = "test_what_it_keeps_does_not_grow"
COPIED = "test_what_it_keeps_of_weights_is_a_copy"


@found_by(GRAPH, r"kept with the graph of a step: seen\[0\], seen\[1\]")
class KeepsOutputs(toy.ToyRule):
    """Keeps the outputs of every step as they are, for its diagnostics."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        loss.backward()
        self.seen.append(logits)
        return loss, logits


@found_by(GRAPH, r"kept with the graph of a step: total. Memory grows: keep .detach\(\)")
class SumsLosses(toy.ToyRule):
    """Adds up the losses of all steps, with the graph of each."""

    def __init__(self) -> None:
        super().__init__()
        self.total = torch.zeros(())

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().differentiate(model, batch)
        self.total = self.total + loss
        return loss, logits


@right(GRAPH, GROWS)
class KeepsTheLast(KeepsOutputs):
    """Keeps the outputs of the last two steps, cut off, and sees its weights as rows."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.rows = [p.view(len(p), -1) for p in model.parameters()]

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().differentiate(model, batch)
        self.seen = [each.detach() for each in self.seen[-2:]]
        return loss, logits


@found_by(GROWS, "numbers after 192 steps, .* after 384")
class KeepsAllOutputs(KeepsOutputs):
    """Keeps the outputs of every step, cut off."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, logits = super().differentiate(model, batch)
        self.seen[-1] = logits.detach()
        return loss, logits


@found_by(GRAPH, r"kept with the graph of a step: state\[\d+\]\['mean'\]")
class StepsWithGraphs(Optimizer):
    """Flips weights by an average of gradients and weights, under autograd."""

    declared = None

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, lr=lr, generator=generator)

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = closure()
        for weight in self.learned():
            state = self.state[weight]
            state["mean"] = 0.9 * state.get("mean", 0) + weight.grad + 1e-3 * weight
            with torch.no_grad():
                weight.copy_(torch.where(state["mean"] * weight > 1, -weight, weight))
        with torch.no_grad():
            self.step_real()
        return loss


@found_by(GROWS, "numbers after 192 steps, .* after 384")
class KeepsAllGradients(optimizers.Fine):
    """Keeps the norms of the gradients of all steps, for later."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.norms: list[Tensor] = []

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        self.norms.append(grad.norm())
        return grad


@found_by(GROWS, "it keeps .* after 192 steps, .* after 384")
class KeepsAllLosses(optimizers.Fine):
    """Keeps the losses of all steps as Python numbers."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.losses: list[float] | deque[float] = []

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        loss = super().step(closure)
        self.losses.append(float(loss))
        return loss


@right(GROWS)
class KeepsTheLastLosses(KeepsAllLosses):
    """Keeps those of the last hundred."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.losses = deque(maxlen=100)


# -------------------------------------------------------------------- what is no copy


@found_by(COPIED, "state latent of segments.1.0.weight is the memory of state anchor of segm")
class AnchorsAtWhatMoves(optimizers.Fine):
    """Is held where the last task ended, at latent weights that move."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        state = self.state[parameter]
        return grad + state["latent"] - state["anchor"] if "anchor" in state else grad

    def task_ended(self, context: TaskContext) -> None:
        for parameter in self.learned():
            self.state[parameter]["anchor"] = self.anchor(self.state[parameter]["latent"])

    def anchor(self, latent: Tensor) -> Tensor:
        """Return what is kept of a latent weight."""
        return latent


@right(COPIED, optimizers.GOES_ON)
class AnchorsAtCopies(AnchorsAtWhatMoves):
    """Is held at copies."""

    def anchor(self, latent: Tensor) -> Tensor:
        return latent.clone()


@found_by(COPIED, "segments.1.0.weight is the memory of state old of segments.1.0.weight")
class KeepsTheWeight(optimizers.Fine):
    """Keeps a weight beside its latent one, which is this weight."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        self.state[parameter]["old"] = parameter
        return grad


@found_by(COPIED, r"old\['segments.1.0.bias'\] is the memory of segments.1.0.bias.*clone")
class HasATeacherThatLearns(toy.ToyRule):
    """Keeps the parameters of the last task by `.data`."""

    def task_ended(self, context: TaskContext) -> None:
        self.old = {name: each.data for name, each in context.model.named_parameters()}


@found_by(COPIED, "start.* is the memory of segments.1.0.weight")
class BeginsWhereItIs(toy.ToyRule):
    """Has the first weights as a buffer, which are the weights themselves."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.register_buffer("start", next(model.parameters()).detach()[:2])


right(COPIED)(KeepsTheLast)


@right(COPIED)
class KnowsTheParameters(toy.ToyRule):
    """Has a list of the parameters, and copies of what they were."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.known = [*model.parameters()]
        self.begun = [each.detach().clone() for each in self.known]


@found_by("test_what_it_keeps_of_gradients_is_a_copy", "a gradient that is not copied")
class MeansTwoGradients(optimizers.Fine):
    """Descends along the mean of two gradients, the last of which is no copy."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        last = self.state[parameter].get("last", grad)
        self.state[parameter]["last"] = self.kept(grad)
        return (grad + last) / 2

    def kept(self, grad: Tensor) -> Tensor:
        """Return what is kept of a gradient."""
        return grad


@right("test_what_it_keeps_of_gradients_is_a_copy", COPIED)
class MeansCopies(MeansTwoGradients):
    """Has a copy of it."""

    def kept(self, grad: Tensor) -> Tensor:
        return grad.clone()


@found_by("test_the_closure_overwrites_gradients", "depend on what others made of earlier ones")
class MeansWithTheLast(toy.ToyRule):
    """Leaves the mean of two gradients, the last of which an optimizer may have clipped."""

    def __init__(self) -> None:
        super().__init__()
        self.last: list[Tensor] = []

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        grads = [each.grad for each in model.parameters() if each.grad is not None]
        for grad, last in zip(grads, self.last, strict=False):
            grad.lerp_(last, 0.5)
        self.last = grads
        return answer


@found_by(COPIED, "state mean of segments.1.0.bias is the memory of state mean of segments.2")
@found_by("test_a_long_task_goes_on_bit_for_bit", optimizers.ANOTHER_WAY)
class SharesMeansByShape(optimizers.Fine):
    """Has one running mean for all parameters of a shape, outside its state at first."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.pool: dict[tuple[int, ...], Tensor] = {}

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        state = self.state[parameter]
        if "mean" not in state:
            state["mean"] = self.pool.setdefault(tuple(grad.shape), torch.zeros_like(grad))
        mean: Tensor = state["mean"].mul_(0.9).add_(grad)
        return mean
