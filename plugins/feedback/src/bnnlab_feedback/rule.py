"""What rules share whose error goes back through other weights than those of the layers."""

import math
from abc import abstractmethod
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab_feedback.passage import passages, passed_layers


class FeedbackRule(LearningRule):
    """Backpropagation, but for the weights that the error passes on its way back.

    A linear or convolutional layer computes y = s (W x) + b; its scale s is 1 if its weights are
    real. With d for dL/dy, the error at x is B^T (s d) in place of W^T (s d), where B has the shape
    of W. All else is autograd's: the gradients of W, s and b are those for d, and normalisations,
    activations with their surrogate gradients, pooling and skip connections pass the error as ever.
    A layer that reads the inputs of the network alone needs no B.
    """

    any_loss = True
    name: ClassVar[str]

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Register a buffer for each layer that passes the error back.

        Raises:
            UsageError: As in `passed_layers`.
        """
        layers, binary = passed_layers(model, self.name), model.binary_parameters()
        self.layers = {name: f"{name}.weight" in binary for name in layers}  # is it binary?
        for name, layer in layers.items():
            weight: Tensor = layer.weight.detach()
            self.register_buffer(key(name), self.start(name, weight, generator).to(weight))

    @abstractmethod
    def start(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Return what is kept of a layer, on the CPU, given its initial weight."""

    @abstractmethod
    def feedback(self, name: str, weight: Tensor) -> Tensor:
        """Return B of a layer, of the shape of its weight."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run forward and backward once."""
        others = {name: partial(self.feedback, name) for name in self.layers}
        with passages(model, others, self.precision):
            logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        torch.autograd.backward(loss)
        return loss, logits


def key(name: str) -> str:
    """Return the name of the buffer of a layer, such as `B/segments/1/0`."""
    return f"B/{name.replace('.', '/')}"


def size(weight: Tensor) -> float:
    """Return the root mean square of a layer's weights: 1 if they are binary.

    Where all are 0 it is 1 / sqrt(fan-in).
    """
    return float(weight.square().mean().sqrt()) or 1 / math.sqrt(weight[0].numel())
