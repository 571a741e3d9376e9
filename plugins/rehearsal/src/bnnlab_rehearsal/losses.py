"""Losses of batches whose parts are learned in different ways; at S draws, of S batches in turn."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bnnlab.interfaces.batch import Batch, Loss, TaskLoss


@dataclass(frozen=True, eq=False)
class Sum(TaskLoss):
    """The weighted sum of the losses of consecutive parts of the rows.

    Attributes:
        parts: Of each part: the number of rows, the weight and the loss.
    """

    parts: tuple[tuple[int, float, Loss], ...] = ()

    def mean_rows(self, rows: int) -> Tensor:  # noqa: ARG002
        """Return the size of each row's part."""
        sizes = torch.tensor([size for size, _, _ in self.parts])
        return sizes.repeat_interleave(sizes)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum; each loss is the mean over its rows, and over the draws."""
        sizes = [rows for rows, _, _ in self.parts]
        drawn = (each.reshape(-1, sum(sizes), *each.shape[1:]) for each in (outputs, targets))
        split = (torch.split(each, sizes, 1) for each in drawn)
        terms = [
            weight * loss(own.flatten(0, 1), wanted.flatten(0, 1))
            for (_, weight, loss), own, wanted in zip(self.parts, *split, strict=True)
        ]
        return torch.stack(terms).sum()


def summed(batch: Batch, *parts: tuple[int, float, Loss]) -> Batch:
    """Return a batch with a `Sum` as its loss; rows keep their tasks and masks."""
    told = batch.loss if isinstance(batch.loss, TaskLoss) else TaskLoss()
    return batch._replace(loss=Sum(told.objective, told.mask, told.tasks, parts=parts))


def among(classes: Tensor, loss: Loss) -> Loss:
    """Return a loss in which only some classes compete; `classes` is bool `(K,)`."""
    return lambda outputs, targets: loss(outputs.masked_fill(~classes, -torch.inf), targets)


def distance_to(logits: Tensor) -> Loss:
    """Return the mean squared distance of outputs to logits `(B, ..., K)`, whatever the targets."""
    return lambda outputs, _: (_by_draw(outputs, logits) - logits).square().mean()


def cross_entropy_to(logits: Tensor, classes: Tensor, temperature: float) -> Loss:
    """Return the cross-entropy to the softmax of logits `(B, K)`, among some classes.

    Both softmaxes have the temperature; `classes` is bool `(K,)`.
    """
    wanted = (logits / temperature).masked_fill(~classes, -torch.inf).softmax(-1)

    def loss(outputs: Tensor, _: Tensor) -> Tensor:
        own = (_by_draw(outputs, wanted) / temperature).masked_fill(~classes, -torch.inf)
        each = wanted * own.log_softmax(-1).masked_fill(~classes, 0)
        return -each.sum(-1).mean()

    return loss


def _by_draw(outputs: Tensor, like: Tensor) -> Tensor:
    """Return outputs `(S * B, ...)` at S draws as `(S, B, ...)`; `like` has B rows."""
    return outputs.reshape(-1, len(like), *outputs.shape[1:])
