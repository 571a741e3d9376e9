"""The learning-rule interface: a batch becomes gradients at the weights the model holds now."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.model import Model

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps logits `(B, K)` and targets `(B,)` to the mean loss of the batch, a scalar."""


class Batch(NamedTuple):
    """Inputs `(B, ...)`, targets `(B,)` int64, and the task's loss; `(x, y)` will do."""

    inputs: Tensor
    targets: Tensor
    loss: Loss = F.cross_entropy


class Closure:
    """Evaluates a batch at the weights as they are when it is called.

    Attributes:
        logits: Those of the last call, `(B, K)`, detached; None before it.
    """

    def __init__(self, rule: "LearningRule", model: Model, batch: Batch) -> None:
        self._rule, self._model, self._batch = rule, model, batch
        self.logits: Tensor | None = None

    def __call__(self) -> Tensor:
        """Overwrite `.grad` of the model's parameters and return the loss, a detached scalar."""
        for parameter in self._model.parameters():
            parameter.grad = None
        with torch.enable_grad():
            loss, logits = self._rule.differentiate(self._model, self._batch)
        self.logits = logits.detach()
        return loss.detach()


class LearningRule(nn.Module, ABC):
    """Turns a batch into gradients; knows nothing of the optimizer that uses them.

    A rule is a module only so that what it registers in `attach` (feedback matrices and the like)
    is in `state_dict()` and moves with `to(device)`.
    """

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Prepare for a model: draw what is random from `generator` (on the CPU) and register it.

        Raises:
            UsageError: If the rule cannot work on this model, with the reason.
        """

    @abstractmethod
    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Leave in `.grad` the gradient of the batch-mean loss; return (loss, logits).

        Called with gradients enabled and every `.grad` None.
        """

    def closure(self, model: Model, batch: Batch | tuple[Tensor, Tensor]) -> Closure:
        """Return what `optimizer.step` calls, once or once per drawn weight sample."""
        return Closure(self, model, Batch(*batch))
