"""Local rules: every hidden segment is taught at its own output, and nothing passes between two."""

from abc import abstractmethod

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.model import Model
from bnnlab.modes import in_mode
from bnnlab.rule import Batch, LearningRule


@torch.no_grad()
def output_shapes(model: Model, rule: str) -> list[tuple[int, ...]]:
    """Return the shape of each segment's output without the batch, the logits `(K,)` last.

    Args:
        model: The model, left as it was.
        rule: Who asks, for the errors.

    Raises:
        UsageError: If the model has a single segment, does not know its input's shape, or passes
            something other than one tensor from segment to segment.
    """
    if len(model.segments) < 2:
        raise UsageError(
            f"{rule} needs a model of at least two segments, and this one has one: give it a "
            "hidden layer, or put a module's layers into an nn.Sequential before binarize()"
        )
    if model.input_shape is None:
        raise UsageError(
            f"{rule} must know the shape of an input: "
            "pass input_shape=(...) to binarize() or Model()"
        )
    x = next(model.parameters()).new_zeros(1, *model.input_shape)
    shapes = []
    with in_mode(model, training=False):
        for number, segment in enumerate(model.segments, start=1):
            x = segment(x)
            if not isinstance(x, Tensor):
                raise UsageError(
                    f"{rule} teaches what passes from segment to segment, which must be one "
                    f"tensor, and segment {number}, {type(segment).__name__}, returns a "
                    f"{type(x).__name__}: put it and the one that takes this into one segment"
                )
            shapes.append(tuple(x.shape[1:]))
    return shapes


class LocalRule(LearningRule):
    """A rule that teaches a hidden segment during the forward pass, as soon as its output is there.

    Its graph is built, used and freed before the next segment runs, so that the activations of one
    segment are held at a time. The last segment learns from the batch's loss, exactly.
    """

    whole_segments = True

    @abstractmethod
    def signal(self, number: int, output: Tensor, batch: Batch) -> Tensor:
        """Return what stands for the gradient of the batch-mean loss at a segment's output.

        Args:
            number: Of the hidden segment, from 1.
            output: Its output `(B, ...)`, detached.
            batch: What the model is run on.

        Returns:
            A tensor of the output's shape.
        """

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run one segment after the other and teach each at once."""
        *hidden, last = model.segments
        x = batch.inputs
        for number, segment in enumerate(hidden, start=1):
            output = segment(x)
            x = output.detach()
            if output.requires_grad:
                output.backward(self.signal(number, x, batch))
        logits = last(x)
        loss = batch.loss(logits, batch.targets)
        torch.autograd.backward(loss)
        return loss, logits
