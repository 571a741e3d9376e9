"""Rules and optimizers whose memory grows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.rule import Batch
from bnnlab_testing import toy
from broken import found_by, optimizers, right

GRAPH = "test_no_graph_is_kept"
GROWS = "test_what_it_keeps_does_not_grow"


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


@found_by(GROWS, "numbers after 3 steps")
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


@found_by(GROWS, "numbers after 12 steps")
class KeepsAllGradients(optimizers.Fine):
    """Keeps the norms of the gradients of all steps, for later."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.norms: list[Tensor] = []

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        self.norms.append(grad.norm())
        return grad
