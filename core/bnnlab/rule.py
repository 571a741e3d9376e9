"""The learning-rule interface: a batch becomes gradients at the weights the model holds now."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.errors import RunError
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
        """Overwrite `.grad` of the model's parameters and return the loss, a detached scalar.

        Raises:
            RunError: If the rule does not do what its interface says.
        """
        for parameter in self._model.parameters():
            parameter.grad = None
        with torch.enable_grad():
            answer = self._rule.differentiate(self._model, self._batch)
        name = type(self._rule).__name__
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise RunError(f"{name}.differentiate() must return (loss, logits)")
        loss, logits = answer
        if loss.ndim or logits.ndim != 2:
            shapes = f"{tuple(loss.shape)} and {tuple(logits.shape)}"
            raise RunError(f"{name}: loss and logits have shapes {shapes}, not () and (B, K)")
        if all(parameter.grad is None for parameter in self._model.parameters()):
            raise RunError(f"{name}.differentiate() left no gradient in any parameter")
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
