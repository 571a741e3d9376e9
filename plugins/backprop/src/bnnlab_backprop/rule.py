"""Backpropagation: autograd over the whole network."""

from collections.abc import Mapping

from torch import Tensor

from bnnlab.families.draws import backpropagate
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, Draws, LearningRule


class Backpropagation(LearningRule):
    """The exact gradient of the loss, apart from the surrogate gradients of sign activations.

    Source: Rumelhart, Hinton and Williams, Nature 323, 1986.
    """

    any_loss = True
    whole_segments = True
    stackable = True
    capturable = True
    exact = True

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run forward and backward once."""
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        loss.backward()
        return loss, logits

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        """Run all draws forward and backward together, where the model allows it."""
        return backpropagate(model, batch, draws)
