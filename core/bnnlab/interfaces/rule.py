"""The learning-rule interface: a batch becomes gradients at the weights the model holds now."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.errors import RunError
from bnnlab.interfaces import batch_checks
from bnnlab.interfaces.model import Model

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps logits `(B, K)` and targets `(B,)` to the mean loss of the batch, a scalar."""


class Batch(NamedTuple):
    """Inputs `(B, ...)`, targets `(B,)` int64, and the task's loss; or just `(x, y)`."""

    inputs: Tensor
    targets: Tensor
    loss: Loss = F.cross_entropy


class Draws(NamedTuple):
    """Loss, logits and gradients at S weight draws.

    Attributes:
        loss: Mean over the draws, a scalar.
        logits: `(S, B, K)`.
        grads: Gradients by the parameter's name, `(S, *shape)`. For a parameter that was not drawn,
            also only their mean, `(1, *shape)`.
    """

    loss: Tensor
    logits: Tensor
    grads: dict[str, Tensor]


class Closure:
    """Evaluates a batch at the current weights of the model.

    Attributes:
        model: The model.
        batch_size: B, examples in the batch.
        logits: Logits of the last call, `(B, K)`, detached; None before it. After `at`: the
            logarithm of the mean probabilities over the draws.
    """

    def __init__(self, rule: "LearningRule", model: Model, batch: Batch) -> None:
        self._rule, self.model, self._batch = rule, model, batch
        self.batch_size = len(batch.targets)
        self._names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
        self.logits: Tensor | None = None

    def __call__(self) -> Tensor:
        """Overwrite `.grad` of the model's parameters and return the loss, a detached scalar.

        The memory of earlier gradients may be overwritten: clone those that you keep.

        Raises:
            RunError: If the rule does not do what its interface says, or the batch does not fit.
        """
        for parameter in self._names:
            parameter.grad = None
        with torch.enable_grad():
            answer: tuple[Tensor, Tensor] = self._ask(self._rule.differentiate)
        name = type(self._rule).__name__
        are_two = isinstance(answer, tuple) and len(answer) == 2
        if not are_two or not all(isinstance(each, Tensor) for each in answer):
            raise RunError(f"{name}.differentiate() must return (loss, logits), two tensors")
        loss, logits = answer
        if loss.ndim:
            raise RunError(f"{name}: the loss has shape {tuple(loss.shape)}, and must be a scalar")
        self._check(logits, (self.batch_size,))
        if all(parameter.grad is None for parameter in self._names):
            raise RunError(f"{name}.differentiate() left no gradient in any parameter")
        self.logits = logits.detach().float() if logits.dtype.itemsize < 4 else logits.detach()
        return loss.detach()

    def at(self, draws: Mapping[Tensor, Tensor]) -> tuple[Tensor, dict[Tensor, Tensor]]:
        """Evaluate the batch at S weight draws, in one pass if rule and model can.

        The drawn parameters do not change; `.grad` of all others becomes the mean over the draws.

        Args:
            draws: Per drawn parameter, S values for it: `(S, *parameter.shape)`.

        Returns:
            The mean loss, and per drawn parameter its gradients, `(S, *parameter.shape)`.

        Raises:
            RunError: As for a call, or if a drawn parameter is not the model's.
        """
        names, found = self._names, None
        for parameter in draws:
            if parameter not in names:
                raise RunError(
                    f"a parameter of shape {tuple(parameter.shape)} that the optimizer learns is "
                    "not the model's: it was replaced, as by load_state_dict(assign=True). Load "
                    "without assign, or make a new optimizer"
                )
        if len(next(iter(draws.values()))) > 1:
            named = {names[parameter]: drawn for parameter, drawn in draws.items()}
            found = self._ask(self._rule.differentiate_draws, named)
        if found is None:
            found = self._one_by_one(draws)
        self._check(found.logits, (len(next(iter(draws.values()))), self.batch_size))
        for parameter, name in names.items():
            if parameter not in draws:
                own = found.grads.get(name)
                parameter.grad = None if own is None else own.mean(0)
        self.logits = found.logits.softmax(-1).mean(0).log()
        grads = {p: found.grads[names[p]] for p in draws if names[p] in found.grads}
        return found.loss, grads

    def _check(self, logits: Tensor, leading: tuple[int, ...]) -> None:
        """Check that logits have the shape `(*leading, K)`, with K of the stream."""
        classes = self.model.classes
        wanted = (*leading, logits.shape[-1] if logits.ndim and classes is None else classes)
        if logits.shape != wanted:
            raise RunError(
                f"{type(self._rule).__name__}: the logits have shape {tuple(logits.shape)}, and "
                f"must have ({', '.join('K' if n is None else str(n) for n in wanted)})"
            )

    def _ask(self, method: Callable[..., Any], *more: Any) -> Any:
        """Call a method of the rule; if a wrong batch makes it fail, say what is wrong."""
        inputs, targets, _ = self._batch
        try:
            with self._rule.autocast(inputs.device):
                return method(self.model, self._batch, *more)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            reason = batch_checks.reason(self.model, inputs, targets)
            if not reason:
                raise
            raise RunError(f"the step cannot be made: {reason}") from error

    def _one_by_one(self, draws: Mapping[Tensor, Tensor]) -> Draws:
        logits = []

        def call() -> Tensor:
            loss = self()
            assert self.logits is not None
            logits.append(self.logits)
            return loss

        losses, grads = evaluate_draws(call, draws, self._names)
        named = {self._names[parameter]: each for parameter, each in grads.items()}
        return Draws(losses.mean(), torch.stack(logits), named)


def evaluate_draws(
    closure: Callable[[], Tensor], draws: Mapping[Tensor, Tensor], parameters: Iterable[Tensor]
) -> tuple[Tensor, dict[Tensor, Tensor]]:
    """Call a closure at each of S weight draws in turn, and put the weights back.

    Args:
        closure: Leaves gradients in `.grad` and returns the loss.
        draws: Per drawn parameter, S values for it: `(S, *parameter.shape)`.
        parameters: Parameters whose gradients are returned.

    Returns:
        The losses `(S,)`, and the gradients `(S, *shape)` of each parameter that has some.
    """
    parameters = list(parameters)
    count = len(next(iter(draws.values())))
    grads: dict[Tensor, Tensor] = {}
    losses = []
    kept = {parameter: parameter.data for parameter in draws}
    try:
        for number in range(count):
            for parameter, drawn in draws.items():
                parameter.data = drawn[number]
                parameter.grad = None
            losses.append(closure())
            for parameter in parameters:
                if parameter.grad is not None:
                    if parameter not in grads:
                        grads[parameter] = parameter.new_zeros((count, *parameter.shape))
                    grads[parameter][number] = parameter.grad
    finally:
        for parameter, data in kept.items():
            parameter.data = data
    return torch.stack(losses), grads


class LearningRule(nn.Module, ABC):
    """Turns a batch into gradients. It does not know the optimizer.

    A rule is a module only so that what it registers in `attach` (feedback matrices and the like)
    is in `state_dict()` and moves with `to(device)`.

    Attributes:
        whole_segments: Whether it runs segments as they are, so that they may be compiled; one
            that hooks into the layers inside must leave this False.
        precision: To what `torch.autocast` casts products in forward and backward passes
            (`torch.bfloat16`), or None for no casting. Parameters and gradients stay float32.
    """

    whole_segments = False
    precision: torch.dtype | None = None

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context that the rule's passes run in."""
        return torch.autocast(device.type, self.precision) if self.precision else nullcontext()

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Prepare for a model: draw what is random from `generator` (on the CPU) and register it.

        The model's parameters, buffers and mode stay as they are; its `inference` may be set.

        Raises:
            UsageError: If the rule cannot work on this model, with the reason.
        """

    @abstractmethod
    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Leave in `.grad` the gradient of the batch-mean loss; return (loss, logits).

        Called with gradients enabled and every `.grad` None.
        """

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        """Do `differentiate` at S weight draws in one pass; return None if it cannot.

        The gradients are returned, not left in `.grad`. By default it cannot, and the closure calls
        `differentiate` once per draw.

        Args:
            model: As in `differentiate`.
            batch: As in `differentiate`.
            draws: Per drawn parameter, by name, its values `(S, *shape)`.
        """

    def objective(self, batch: Batch) -> Loss:
        """Return the loss for the diagnosis of the rule's gradient; by default the batch's loss."""
        return batch.loss

    def diagnostics(self) -> dict[str, float]:
        """Return numbers for the metrics by name; called after every epoch."""
        return {}

    def closure(self, model: Model, batch: Batch | tuple[Tensor, Tensor]) -> Closure:
        """Return the closure for `optimizer.step`, which calls it once or once per weight draw.

        Raises:
            UsageError: If the model is not bnnlab's, or the batch is not inputs with labels.
        """
        batch_checks.check(model, batch)
        return Closure(self, model, Batch(*batch))
