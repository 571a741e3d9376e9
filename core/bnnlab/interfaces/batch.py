"""What a rule learns from in one step: inputs, targets, and the loss of a task or of several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import CLASSES, ClassPerPosition, RealNumbers

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs `(B, ...)` and targets `(B, ...)` to the mean loss of the batch, a scalar."""


@dataclass(frozen=True, eq=False)
class TaskLoss:
    """The mean loss of rows that are of one task, or of several.

    Attributes:
        objective: What the targets are.
        mask: bool of shape (K,), or (B, K) if the rows are of several tasks: the classes among
            which a row's is searched; None for all.
        tasks: Index of the task, or int64 of shape (B,), that of each row; None if unknown.
    """

    objective: Objective = CLASSES
    mask: Tensor | None = None
    tasks: int | Tensor | None = None

    def masked(self, outputs: Tensor) -> Tensor:
        """Return logits `(B, ..., K)` with minus infinity where the mask is false.

        Logits of S draws may follow one another, `(S * B, ..., K)`.
        """
        mask = self.mask
        if mask is None:
            return outputs
        if mask.ndim == 2:
            mask = mask.repeat(len(outputs) // len(mask), 1)
            mask = mask.view(len(mask), *[1] * (outputs.ndim - 2), -1)
        return outputs.masked_fill(~mask, -torch.inf)

    def mean_rows(self, rows: int) -> int | Tensor:
        """Return over how many rows the loss of each of B rows is a mean: B, or int64 `(B,)`."""
        return rows

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss, a scalar."""
        return self.objective.loss(self.masked(outputs), targets)


class Batch(NamedTuple):
    """What a rule learns from in one step.

    Attributes:
        inputs: `(B, ...)`.
        targets: `(B,)` int64; of another shape and dtype if the objective says so.
        loss: Of a task, a `TaskLoss`; any function of outputs and targets in a loop of one's own.
    """

    inputs: Tensor
    targets: Tensor
    loss: Loss = F.cross_entropy

    @property
    def objective(self) -> Objective:
        """What the targets are: the loss says it, or else their dtype and their dimensions."""
        if isinstance(self.loss, TaskLoss):
            return self.loss.objective
        if self.loss is F.cross_entropy or self.targets.ndim == 1:
            return CLASSES
        return RealNumbers() if self.targets.is_floating_point() else ClassPerPosition()

    @property
    def mask(self) -> Tensor | None:
        """The classes among which a row's is searched, see `TaskLoss`; None for all."""
        return self.loss.mask if isinstance(self.loss, TaskLoss) else None

    @property
    def tasks(self) -> int | Tensor | None:
        """The task of the rows, or of each row, see `TaskLoss`; None if unknown."""
        return self.loss.tasks if isinstance(self.loss, TaskLoss) else None

    def masked(self, outputs: Tensor) -> Tensor:
        """Return outputs as the loss sees them: minus infinity where the mask is false."""
        return self.loss.masked(outputs) if isinstance(self.loss, TaskLoss) else outputs

    @property
    def mean_rows(self) -> int | Tensor:
        """Over how many rows the loss of each row is a mean, see `TaskLoss`."""
        rows = len(self.targets)
        return self.loss.mean_rows(rows) if isinstance(self.loss, TaskLoss) else rows


def joined(batches: Sequence[Batch]) -> Batch:
    """Return the rows of several batches as one; each row keeps its task and its mask.

    Raises:
        ValueError: If a loss is no task's and not the usual one, or the objectives differ.
    """
    first = batches[0].objective
    for batch in batches:
        _expect_told(batch, "joined")
        if batch.objective != first:
            raise ValueError(f"{first.name} and {batch.objective.name} cannot be joined")
    inputs, targets, _ = zip(*batches, strict=True)
    tasks = mask = None
    if all(batch.tasks is not None for batch in batches):
        tasks = torch.cat([of_rows(batch.tasks, batch, ()) for batch in batches])
    if masks := [batch.mask for batch in batches if batch.mask is not None]:
        mask = torch.cat([of_rows(batch.mask, batch, masks[0].shape[-1:]) for batch in batches])
    return Batch(torch.cat(inputs), torch.cat(targets), TaskLoss(first, mask, tasks))


def chosen(batch: Batch, rows: Tensor) -> Batch:
    """Return some rows of a batch; each keeps its task and its mask.

    Args:
        batch: Of one task, of several, or of none.
        rows: Their indices, int64 `(N,)`, or bool `(B,)`.

    Raises:
        ValueError: If the loss is no task's and not the usual one.
    """
    _expect_told(batch, "taken apart")
    inputs, targets, loss = batch
    if isinstance(loss, TaskLoss):
        tasks, mask = loss.tasks, loss.mask
        tasks = tasks[rows] if isinstance(tasks, Tensor) else tasks
        mask = mask[rows] if mask is not None and mask.ndim == 2 else mask
        loss = TaskLoss(loss.objective, mask, tasks)
    return Batch(inputs[rows], targets[rows], loss)


def _expect_told(batch: Batch, what: str) -> None:
    if not (type(batch.loss) is TaskLoss or batch.loss is F.cross_entropy):
        raise ValueError(
            f"a batch whose loss is a function of its own cannot be {what}: leave the loss out, or "
            "give that of a task, Batch(inputs, targets, task.loss)"
        )


def of_rows(value: int | Tensor | None, batch: Batch, shape: tuple[int, ...]) -> Tensor:
    """Return a value of each row, for one of all rows or of each; None is true."""
    if isinstance(value, Tensor):
        return value if value.ndim > len(shape) else value.expand(len(batch.targets), *shape)
    one = True if value is None else value
    return torch.full((len(batch.targets), *shape), one, device=batch.targets.device)
