"""The learning-rule interface: a batch becomes gradients at the model's present weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bnnlab.errors import RunError
from bnnlab.guards.module_state import memory_kept
from bnnlab.interfaces import batch_checks
from bnnlab.interfaces.batch import Batch as Batch
from bnnlab.interfaces.batch import Loss as Loss
from bnnlab.interfaces.model import Model


class Draws(NamedTuple):
    """Loss, logits and gradients at S weight draws.

    Attributes:
        loss: The mean loss over the draws, a scalar.
        logits: `(S, B, K)`.
        grads: The gradients by parameter name, `(S, *shape)`. For a parameter that was not drawn,
            `(1, *shape)` with the mean over the draws is enough.
    """

    loss: Tensor
    logits: Tensor
    grads: dict[str, Tensor]


class LearningRule(nn.Module, ABC):
    """Turns a batch into gradients. It does not know the optimizer that uses them.

    A rule is a module, so that what it registers in `attach` (feedback matrices, for example) is in
    `state_dict()` and moves with `to(device)`.

    Attributes:
        any_loss: Whether the rule learns from the batch's loss alone, whatever its targets are and
            whatever shape its outputs have. What provides the capability "any-loss" says so here.
        whole_segments: Whether the rule runs each segment as a whole, so that segments may be
            compiled. A rule with hooks on the layers inside must leave this False.
        precision: The dtype to which `torch.autocast` casts products in forward and backward
            passes, for example `torch.bfloat16`; None for no casting. Parameters and gradients stay
            float32.
    """

    any_loss = False
    whole_segments = False
    precision: torch.dtype | None = None

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Prepare the rule for a model. Register here what it draws, such as feedback matrices.

        Change nothing in the model but its `inference`.

        Args:
            model: The model that is to learn.
            generator: Source of random numbers, on the CPU.

        Raises:
            UsageError: If the rule cannot work on this model, with the reason.
        """

    @abstractmethod
    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Leave the gradient of the batch-mean loss in `.grad`; return loss and logits.

        When it is called, gradients are enabled and every `.grad` is None.

        Args:
            model: The model, at the weights to differentiate at.
            batch: Inputs, targets and loss.

        Returns:
            The batch-mean loss, a scalar; and the logits `(B, K)`, or `(B, ..., K)`.
        """

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        """Do the same at S weight draws in one pass; None, as by default, if it cannot.

        The closure then calls `differentiate` once per draw. The gradients are returned, not left
        in `.grad`.

        Args:
            model: As in `differentiate`.
            batch: As in `differentiate`.
            draws: The values of each drawn parameter by name, `(S, *shape)`.
        """

    def objective(self, batch: Batch) -> Loss:
        """Return the loss that the rule minimises: its exact gradient is compared with the rule's.

        By default the batch's loss.
        """
        return batch.loss

    def diagnostics(self) -> dict[str, float]:
        """Return numbers for the metrics, by name. A run calls it after every epoch."""
        return {}

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context in which the rule's passes run, see `precision`."""
        return torch.autocast(device.type, self.precision) if self.precision else nullcontext()

    def closure(self, model: Model, batch: Batch | tuple[Tensor, Tensor]) -> "Closure":
        """Return the closure that `optimizer.step` calls, once or once per weight draw.

        Args:
            model: The model that learns.
            batch: `(inputs, targets)`, or a `Batch` with a loss of its own.

        Raises:
            UsageError: If the model is no bnnlab model, the batch is not inputs with targets, or
                the rule cannot learn from such targets.
        """
        return Closure(self, model, batch_checks.checked(self, model, batch))


class Closure:
    """Evaluates a batch at the model's present weights when it is called.

    Attributes:
        model: The model.
        batch_size: B, the examples in the batch.
        logits: The logits of the last call, `(B, K)`, detached; None before the first call. After
            `at`, the logarithm of the mean probabilities over the draws.
    """

    def __init__(self, rule: LearningRule, model: Model, batch: Batch) -> None:
        self._rule, self.model, self._batch = rule, model, batch
        self.batch_size = len(batch.targets)
        self._names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
        self.logits: Tensor | None = None

    def __call__(self) -> Tensor:
        """Overwrite `.grad` of the model's parameters; return the loss, a detached scalar.

        The memory of earlier gradients may be reused: clone what you want to keep.

        Raises:
            RunError: If the rule breaks its interface, or the batch does not fit.
        """
        for parameter in self._names:
            parameter.grad = None
        with torch.enable_grad():
            answer: tuple[Tensor, Tensor] = self._ask(self._rule.differentiate)
        name = type(self._rule).__name__
        is_pair = isinstance(answer, tuple) and len(answer) == 2
        if not is_pair or not all(isinstance(value, Tensor) for value in answer):
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
        """Evaluate the batch at S weight draws, in one pass if rule and model can do it.

        The drawn parameters keep their values. `.grad` of the other parameters becomes the mean
        over the draws.

        Args:
            draws: The S values of each drawn parameter, `(S, *parameter.shape)`.

        Returns:
            The mean loss, a scalar; and the gradients of each drawn parameter,
            `(S, *parameter.shape)`.

        Raises:
            RunError: As in a call.
        """
        names, count = self._names, len(next(iter(draws.values())))
        named = {names[parameter]: drawn for parameter, drawn in draws.items()}
        found = self._ask(self._rule.differentiate_draws, named) if count > 1 else None
        if found is None:
            return self._one_by_one(draws)
        self._check(found.logits, (count, self.batch_size))
        for parameter, name in names.items():
            if parameter not in draws:
                own = found.grads.get(name)
                parameter.grad = None if own is None else own.mean(0)
        self.logits = self._merged(found.logits)
        return found.loss, {p: found.grads[names[p]] for p in draws if names[p] in found.grads}

    def _one_by_one(self, draws: Mapping[Tensor, Tensor]) -> tuple[Tensor, dict[Tensor, Tensor]]:
        logits: list[Tensor] = []

        def call() -> Tensor:
            loss = self()
            assert self.logits is not None
            logits.append(self.logits)
            return loss

        answer = evaluate_draws(call, draws, self._names)
        self.logits = self._merged(torch.stack(logits))
        return answer

    def _merged(self, logits: Tensor) -> Tensor:
        """Return what S draws predict together, of their logits `(S, B, ...)`."""
        return self._batch.objective.merge(logits)

    def _check(self, logits: Tensor, leading: tuple[int, ...]) -> None:
        """Check that logits have the shape `(*leading, ..., K)`, with the K of the stream."""
        classes, target = self.model.classes, tuple(self._batch.targets.shape[1:])
        if classes is None:
            classes = logits.shape[-1] if logits.ndim else -1
        wanted = *leading, *self._batch.objective.output_shape(target, classes)
        if logits.shape != wanted:
            raise RunError(
                f"{type(self._rule).__name__}: the logits have shape {tuple(logits.shape)}, and "
                f"must have ({', '.join('K' if n < 0 else str(n) for n in wanted)})"
            )

    def _ask(self, method: Callable[..., Any], *more: Any) -> Any:
        """Call a method of the rule; if it fails because of the batch, say why."""
        try:
            with self._rule.autocast(self._batch.inputs.device):
                return method(self.model, self._batch, *more)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            reason = batch_checks.reason(self.model, self._batch)
            if not reason:
                raise
            raise RunError(f"the step cannot be made: {reason}") from error


def evaluate_draws(
    closure: Callable[[], Tensor], draws: Mapping[Tensor, Tensor], parameters: Iterable[Tensor]
) -> tuple[Tensor, dict[Tensor, Tensor]]:
    """Call a closure at each of S weight draws; arguments and answer are those of `Closure.at`.

    Args:
        closure: Leaves gradients in `.grad` and returns the loss.
        draws: The S values of each drawn parameter.
        parameters: All parameters.
    """
    count = len(next(iter(draws.values())))
    parameters = list(parameters)
    grads: dict[Tensor, Tensor] = {}
    losses = []
    with memory_kept(draws):
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
    for parameter in parameters:
        if parameter not in draws:
            parameter.grad = grads[parameter].mean(0) if parameter in grads else None
    return torch.stack(losses).mean(), {p: grads[p] for p in draws if p in grads}
