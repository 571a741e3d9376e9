"""Direct feedback alignment: the output error through fixed random matrices.

Source: Nøkland, "Direct Feedback Alignment Provides Learning in Deep Neural Networks",
NeurIPS 2016, eq. 6.
"""

from collections import deque
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bnnlab.errors import UsageError
from bnnlab.model import Model
from bnnlab.normalization import frozen_statistics
from bnnlab.rule import Batch
from bnnlab_dfa.feedback import Feedback, Per, RandomFeedback, Skip


class DirectFeedbackAlignment(RandomFeedback):
    """Sends the output error straight to every hidden segment, through a fixed random matrix.

    With logits y, loss L and e = dL/dy of shape (B, K), a hidden segment l with output h_l of
    shape (B, d_l) receives e B_l in place of dL/dh_l; inside the segment autograd goes on as
    usual, and nothing reaches the segment before. The last segment's gradient is exact. For a
    convolutional segment d_l counts every neuron, C*H*W, as in the paper.

    Args:
        feedback: See `RandomFeedback`.
        scale: See `RandomFeedback`.
        per: See `RandomFeedback`.
        skip: See `RandomFeedback`.
        recompute: Build each segment's graph only when its error is there, use it and free it:
            one segment's activations are held instead of all, for a second forward pass.

    Raises:
        UsageError: If `recompute` is set where skip connections leak.
    """

    name = "dfa"

    def __init__(
        self,
        feedback: Feedback = "normal",
        scale: float = 1.0,
        per: Per = "neuron",
        skip: Skip = "cut",
        recompute: bool = False,
    ) -> None:
        super().__init__(feedback, scale, per, skip)
        self.recompute = recompute
        if recompute and skip == "leak":
            raise UsageError(
                "rule.recompute frees one segment after the other, and skip=leak backpropagates "
                "through all: leave out recompute, or set rule.skip to 'cut'"
            )

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run the segments apart from one another, then send each its error."""
        if self.skip == "leak":
            return self.differentiate_leaking(model, batch, lambda error: error)
        outputs, x = deque[Tensor](), batch.inputs
        for segment in model.segments:
            outputs.append(self._run(segment, x.detach()))
            x = outputs[-1]
        logits = x.detach().requires_grad_()
        loss = batch.loss(logits, batch.targets)
        (error,) = torch.autograd.grad(loss, logits)  # (B, K)
        outputs.pop().backward(error)
        for number in range(1, len(model.segments)):
            # In this order the large activations go first, before the gradients have piled up.
            output = outputs.popleft()
            if output.requires_grad:
                output.backward(self.project(number, error, output))
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
