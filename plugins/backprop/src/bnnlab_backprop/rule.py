"""Backpropagation: autograd over the whole network."""

from torch import Tensor

from bnnlab.model import Model
from bnnlab.rule import Batch, LearningRule


class Backpropagation(LearningRule):
    """The exact gradient of the loss, apart from the surrogate gradients of sign activations.

    Source: Rumelhart, Hinton and Williams, Nature 323, 1986.
    """

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run forward and backward once."""
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        loss.backward()
        return loss, logits
