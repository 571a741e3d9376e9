"""Direct feedback alignment at the outputs of segments.

Source: Nøkland, "Direct Feedback Alignment Provides Learning in Deep Neural Networks",
NeurIPS 2016, eq. 6.
"""

import math
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bnnlab.errors import UsageError
from bnnlab.layers import random_signs
from bnnlab.model import Model
from bnnlab.normalization import frozen_statistics
from bnnlab.rule import Batch, LearningRule

Feedback = Literal["normal", "uniform", "sign"]


class DirectFeedbackAlignment(LearningRule):
    """Sends the output error straight to every hidden segment, through a fixed random matrix.

    With logits y, loss L and e = dL/dy of shape (B, K), a hidden segment l with output h_l of
    shape (B, d_l) receives e B_l in place of dL/dh_l; inside the segment autograd goes on as
    usual, and nothing reaches the segment before. The last segment's gradient is exact. For a
    convolutional segment d_l counts every neuron, C*H*W, as in the paper.

    The elements of B_l, of shape (K, d_l), have mean 0 and standard deviation scale / sqrt(d_l):
    the size of a backpropagated error under a binary layer with fan-in scale.

    Args:
        feedback: `normal`, `uniform` or `sign` (two values of equal size).
        scale: See above.
        recompute: Build each segment's graph only when its error is there, use it and free it:
            one segment's activations are held instead of all, for a second forward pass.
    """

    def __init__(
        self, feedback: Feedback = "normal", scale: float = 1.0, recompute: bool = False
    ) -> None:
        super().__init__()
        self.feedback, self.scale, self.recompute = feedback, scale, recompute

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Draw the feedback matrices B_1, B_2, ... and keep them as buffers.

        Raises:
            UsageError: If the model has a single segment or does not know its input's shape.
        """
        if len(model.segments) < 2:
            raise UsageError(
                "dfa needs a model of at least two segments, and this one has one: give it a "
                "hidden layer, or put a module's layers into an nn.Sequential before binarize()"
            )
        if model.input_shape is None:
            raise UsageError(
                "dfa must know the shape of an input to size its feedback matrices: "
                "pass input_shape=(...) to binarize() or Model()"
            )
        *hidden, classes = _output_sizes(model)
        like = next(model.parameters())
        for number, size in enumerate(hidden, start=1):
            matrix = _draw(self.feedback, (classes, size), generator)
            self.register_buffer(f"B{number}", matrix.to(like) * (self.scale / math.sqrt(size)))

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run the segments apart from one another, then send each its error."""
        outputs = [batch.inputs]
        for segment in model.segments:
            outputs.append(self._run(segment, outputs[-1].detach()))
        logits = outputs[-1].detach().requires_grad_()
        loss = batch.loss(logits, batch.targets)
        (error,) = torch.autograd.grad(loss, logits)  # (B, K)
        outputs[-1].backward(error)
        for number, output in enumerate(outputs[1:-1], start=1):
            if output.requires_grad:
                output.backward((error @ self.get_buffer(f"B{number}")).view_as(output))
        return loss, logits

    def _run(self, segment: nn.Module, inputs: Tensor) -> Tensor:
        if not self.recompute:
            output: Tensor = segment(inputs)
            return output
        again: Tensor = checkpoint(
            segment,
            inputs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), frozen_statistics(segment)),
        )
        return again


def _draw(feedback: Feedback, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return a matrix with elements of mean 0 and standard deviation 1."""
    if feedback == "normal":
        return torch.randn(shape, generator=generator)
    if feedback == "uniform":
        return (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3)
    return random_signs(shape, generator)


@torch.no_grad()
def _output_sizes(model: Model) -> list[int]:
    """Return the number of outputs per example of each segment."""
    assert model.input_shape is not None
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    x = next(model.parameters()).new_zeros(1, *model.input_shape)
    sizes = []
    for segment in model.segments:
        x = segment(x)
        sizes.append(x.numel())
    for module, training in modes:
        module.training = training
    return sizes
