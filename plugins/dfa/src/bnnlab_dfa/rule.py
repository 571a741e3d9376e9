"""Direct feedback alignment: fixed random matrices send the output error to each segment.

Source: Nøkland, "Direct Feedback Alignment Provides Learning in Deep Neural Networks",
NeurIPS 2016, eq. 6.
"""

import math
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.families.local import LocalRule
from bnnlab.interfaces.gradients import send_back
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab.nn.dropout import global_draws_kept
from bnnlab.nn.normalization import frozen_statistics
from bnnlab_dfa.feedback import RandomFeedback


class DirectFeedbackAlignment(RandomFeedback, LocalRule):
    """Sends the output error straight to every hidden segment, through a fixed random matrix.

    With logits y, loss L and e = dL/dy of shape (B, K), a hidden segment l with output h_l of
    shape (B, d_l) receives e B_l in place of dL/dh_l; inside the segment autograd goes on as
    usual, and nothing reaches the segment before. The last segment's gradient is exact. For a
    convolutional segment d_l counts every neuron, C*H*W, as in the paper. With a loss per position,
    where y has shape (B, T, K), all T K numbers of e are projected.

    With `error="sign"` a hidden segment receives sign(e) B_l / B (sDFA: Frenkel, Lefebvre and Bol,
    Frontiers in Neuroscience 15:629892, 2021), or sign(e) B_l / (B T).

    Args:
        recompute: Use a second forward pass, so that the activations of one segment are in memory
            at a time, not those of all.
        error: What is projected. value: the output error. sign: its sign, over the batch size.
        options: Options of `RandomFeedback`.

    Raises:
        UsageError: If `recompute` is set where skip connections leak.
    """

    name = "dfa"
    any_loss = True
    stackable = True
    capturable = True

    def __init__(
        self, recompute: bool = False, error: Literal["value", "sign"] = "value", **options: Any
    ) -> None:
        super().__init__(**options)
        self.recompute, self.error = recompute, error
        places = (self.per, self.skip, self.at) == ("neuron", "cut", "output")
        self.stackable = places and error == "value" and not recompute
        if recompute and self.skip == "leak":
            raise UsageError(
                "rule.recompute frees one segment after the other, and skip=leak backpropagates "
                "through all: leave out recompute, or set rule.skip to 'cut'"
            )

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Find the output error, then send it to each segment apart from the others."""
        if self.skip == "leak":
            return self.differentiate_leaking(model, batch, partial(self._projected, batch))
        if self.recompute:
            self._error = self._projected(batch, _find_error(model, batch))
            return super().differentiate(model, batch)
        outputs, x = [], batch.inputs
        for segment in model.segments:
            outputs.append(segment(x))
            x = outputs[-1].detach()
        logits = x.requires_grad_()
        loss = batch.loss(logits, batch.targets)
        (error,) = torch.autograd.grad(loss, logits)  # (B, K), or (B, ..., K)
        send_back(outputs.pop(), error)
        error = self._projected(batch, error)
        for number, output in enumerate(outputs, start=1):
            if output.requires_grad:
                send_back(output, self.project(number, error, output))
        return loss, logits

    def signal(self, number: int, output: Tensor, _batch: Batch) -> Tensor:
        """Return e B_l in the output's shape, for the error found in a pass before."""
        return self.project(number, self._error, output)

    def _projected(self, batch: Batch, error: Tensor) -> Tensor:
        """Return what is projected for an error `(B, ..., K)`."""
        if self.error == "value":
            return error
        rows = batch.mean_rows
        if isinstance(rows, Tensor):
            rows = rows.to(error).view(-1, *[1] * (error.ndim - 1))
        return error.sign() / (rows * math.prod(error.shape[1:-1]))


def _find_error(model: Model, batch: Batch) -> Tensor:
    """Return dL/dy from a forward pass that leaves no trace and keeps no activations."""
    kept = global_draws_kept(model, batch.inputs.device)  # equal dropout masks later
    with torch.no_grad(), kept, frozen_statistics(model):
        logits = model(batch.inputs.clone())  # a model may work in place
    logits.requires_grad_()
    (error,) = torch.autograd.grad(batch.loss(logits, batch.targets), logits)
    return error
