"""Local rules: each hidden segment learns at its own output; no gradient passes between two."""

from abc import abstractmethod

import torch
from torch import Tensor

from bnnlab.errors import RunError, UsageError
from bnnlab.interfaces.faults import checked_floats
from bnnlab.interfaces.gradients import send_back
from bnnlab.interfaces.model import Model, segment_shapes
from bnnlab.interfaces.rule import Batch, LearningRule


def output_shapes(model: Model, rule: str, *, any_loss: bool = False) -> list[tuple[int, ...]]:
    """Return the shape of each segment's output without the batch; the last is the logits' `(K,)`.

    It may be another one if the rule, which messages name, takes any loss.

    Raises:
        UsageError: If the model has a single segment or no `input_shape`, or returns no logits
            `(B, K)`; see also `bnnlab.interfaces.model.segment_shapes`.
    """
    if len(model.segments) < 2:
        raise UsageError(
            f"{rule} needs a model of at least two segments, and this one has one: give it a "
            "hidden layer, or put a module's layers into an nn.Sequential before binarize(). The "
            "log says why a module was kept whole"
        )
    if model.input_shape is None:
        raise UsageError(
            f"{rule} must know the shape of an input: "
            "pass input_shape=(...) to binarize() or Model()"
        )
    shapes = segment_shapes(model, model.input_shape)
    if len(shapes[-1]) > 1 and not any_loss:
        raise UsageError(
            f"{rule} needs a model that returns logits (K,) for an input, and this one returns "
            f"{shapes[-1]}: take a rule that provides 'any-loss', such as bp"
        )
    return shapes


class LocalRule(LearningRule):
    """A rule that teaches a hidden segment during the forward pass, as soon as its output exists.

    The graph of a segment is built, used and freed before the next segment runs, so only the
    activations of one segment are stored at a time. The last segment has the exact gradient of the
    batch's loss.
    """

    class_losses = whole_segments = True

    @abstractmethod
    def signal(self, number: int, output: Tensor, batch: Batch) -> Tensor:
        """Return what replaces the gradient of the batch-mean loss at a segment's output.

        It has the output's shape, in units of the batch-mean loss per unit of the output.

        Args:
            number: Number of the hidden segment, from 1.
            output: Its output `(B, ...)`, detached.
            batch: The batch on which the model runs.
        """

    def _checked_signal(self, number: int, x: Tensor, batch: Batch) -> Tensor:
        version, who = x._version, f"{type(self).__name__}.signal() for segment {number}"
        signal = checked_floats(self.signal(number, x, batch), x, who)
        if x._version != version:
            raise RunError(f"{who} changed the output it was given, which the next segment takes")
        return signal

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run the segments one after another; teach each one before the next runs."""
        *hidden, last = model.segments
        x = batch.inputs
        for number, segment in enumerate(hidden, start=1):
            output = segment(x)
            x = output.detach()
            if output.requires_grad:
                send_back(output, self._checked_signal(number, x, batch))
        logits = last(x)
        loss = batch.loss(logits, batch.targets)
        torch.autograd.backward(loss)
        return loss, logits
