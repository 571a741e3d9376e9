"""The closure of a step: a batch is evaluated at the present weights, or at weight draws."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab.guards.module_state import memory_kept
from bnnlab.interfaces import batch_checks
from bnnlab.interfaces.batch import Batch, chosen
from bnnlab.interfaces.model import Model

_Found = tuple[Tensor, Tensor, dict[Tensor, Tensor]]
"""At S draws: the mean loss, the logits of the own rows `(S, B, ...)`, and the gradients."""


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


class Closure:
    """Evaluates a batch at the model's present weights when it is called; the rule hears of it.

    Attributes:
        model: The model.
        batch: What is learned from: the batch's own rows, then those that the rule recalls.
        batch_size: B, the examples in the batch, without those recalled.
        logits: The logits of the last call, `(B, K)`, detached; None before the first call. After
            `at`, the logarithm of the mean probabilities over the draws.
        pieces: The batch is differentiated in this many pieces, one after another, which takes less
            memory: gradient accumulation. Loss and gradients are the means over all its rows.
        clip_value: Each number of the gradients is clipped to this size; None: no bound.

    Raises:
        RunError: If the rule's `recall` returns no batch, or a shorter one.
    """

    pieces = 1
    clip_value: float | None = None

    def __init__(self, rule: Any, model: Model, batch: Batch) -> None:
        self._rule, self.model, self._own, self.batch = rule, model, batch, batch
        rule.step_started()
        with torch.no_grad():
            self.batch = self._ask(rule.recall, batch)
        self.batch_size = len(batch.targets)
        if not isinstance(self.batch, Batch) or len(self.batch.targets) < self.batch_size:
            raise RunError(
                f"{type(rule).__name__}.recall() must return a Batch that begins with the rows of "
                "the one it was given"
            )
        self._names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
        self.logits: Tensor | None = None
        self._is_new = True

    def __call__(self) -> Tensor:
        """Overwrite `.grad` of the model's parameters; return the loss, a detached scalar.

        The memory of earlier gradients may be reused: clone what you want to keep.

        Raises:
            RunError: If the rule breaks its interface, or the batch does not fit.
        """
        loss = self._evaluate()
        self._clip(())
        self._remember(self.logits)
        return loss

    def _evaluate(self) -> Tensor:
        """Do what a call does, and remember nothing."""
        if self.pieces == 1:
            loss, logits = self._differentiate(self.batch)
        else:
            loss, logits = accumulate(self._differentiate, self.batch, self.pieces, self._names)
        self.logits = _kept(logits[: self.batch_size])
        return loss.detach()

    def _differentiate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Let the rule differentiate the batch, or a piece of it; return loss and outputs."""
        for parameter in self._names:
            parameter.grad = None
        with torch.enable_grad():
            answer: tuple[Tensor, Tensor] = self._ask(self._rule.differentiate, batch)
        name = type(self._rule).__name__
        loss, logits = _pair(name, answer)
        _expect_shape(logits, (), self.model, batch, name)
        if all(parameter.grad is None for parameter in self._names):
            raise RunError(f"{name}.differentiate() left no gradient in any parameter")
        return loss, logits

    def _remember(self, outputs: Tensor | None) -> None:
        """Let the rule remember the batch with its outputs `(B, ...)`, once."""
        if self._is_new and outputs is not None:
            self._is_new = False
            with torch.no_grad():
                self._rule.remember(self._own, outputs)

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
        loss, logits, grads = self._at_once(draws) or self._one_by_one(draws)
        self.logits = self._own.objective.merge(logits)
        self._clip(grads.values())
        self._remember(logits.mean(0))
        return loss, grads

    def _clip(self, grads: Iterable[Tensor]) -> None:
        """Clip each number of these gradients, and of those in `.grad`."""
        if self.clip_value is not None:
            left = (parameter.grad for parameter in self._names if parameter.grad is not None)
            for grad in (*grads, *left):
                grad.clamp_(-self.clip_value, self.clip_value)

    def _at_once(self, draws: Mapping[Tensor, Tensor]) -> _Found | None:
        names, count = self._names, len(next(iter(draws.values())))
        named = {names[parameter]: drawn for parameter, drawn in draws.items()}
        if count == 1 or self.pieces > 1:
            return None
        found = self._ask(self._rule.differentiate_draws, self.batch, named)
        if found is None:
            return None
        who = type(self._rule).__name__
        _expect_shape(found.logits, (count,), self.model, self.batch, who)
        for parameter, name in names.items():
            if parameter not in draws:
                own = found.grads.get(name)
                parameter.grad = None if own is None else own.mean(0)
        grads = {p: found.grads[names[p]] for p in draws if names[p] in found.grads}
        return found.loss, _kept(found.logits[:, : self.batch_size]), grads

    def _one_by_one(self, draws: Mapping[Tensor, Tensor]) -> _Found:
        logits: list[Tensor] = []

        def call() -> Tensor:
            loss = self._evaluate()
            assert self.logits is not None
            logits.append(self.logits)
            return loss

        loss, grads = evaluate_draws(call, draws, self._names)
        return loss, torch.stack(logits), grads

    def _ask(self, method: Callable[..., Any], batch: Batch, *more: Any) -> Any:
        """Call a method of the rule; if it fails because of the batch, say why."""
        try:
            with (
                batch_checks.targets_kept(self._rule, batch),
                self._rule.autocast(batch.inputs.device),
            ):
                return method(self.model, batch, *more)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            reason = batch_checks.reason(self.model, batch)
            if not reason:
                raise
            raise RunError(f"the step cannot be made: {reason}") from error


def _pair(name: str, answer: Any) -> tuple[Tensor, Tensor]:
    """Return loss and logits, after a check that a rule returned these."""
    is_pair = isinstance(answer, tuple) and len(answer) == 2
    if not is_pair or not all(isinstance(value, Tensor) for value in answer):
        raise RunError(f"{name}.differentiate() must return (loss, logits), two tensors")
    loss, logits = answer
    if loss.ndim:
        raise RunError(f"{name}: the loss has shape {tuple(loss.shape)}, and must be a scalar")
    return loss, logits


def _expect_shape(
    logits: Tensor, draws: tuple[int, ...], model: Model, batch: Batch, name: str
) -> None:
    """Check that logits have the shape `(*draws, B, ..., K)`, with the K of the stream.

    B counts the rows recalled, too.
    """
    classes, (rows, *target) = model.classes, batch.targets.shape
    if classes is None:
        classes = logits.shape[-1] if logits.ndim else -1
    wanted = *draws, rows, *batch.objective.output_shape(tuple(target), classes)
    if logits.shape != wanted:
        raise RunError(
            f"{name}: the logits have shape {tuple(logits.shape)}, and must have "
            f"({', '.join('K' if n < 0 else str(n) for n in wanted)})"
        )


def accumulate(
    differentiate: Callable[[Batch], tuple[Tensor, Tensor]],
    batch: Batch,
    pieces: int,
    parameters: Collection[Tensor],
) -> tuple[Tensor, Tensor]:
    """Differentiate a batch piece by piece; leave the mean gradients of all its rows in `.grad`.

    Returns:
        The mean loss, a scalar, and the outputs of all rows.
    """
    rows = torch.arange(len(batch.targets), device=batch.targets.device)
    sums: dict[Tensor, Tensor] = {}
    losses, outputs = list[Tensor](), list[Tensor]()
    for piece in torch.tensor_split(rows, min(pieces, len(rows))):
        share = len(piece) / len(rows)
        loss, logits = differentiate(chosen(batch, piece))
        losses.append(loss.detach() * share)
        outputs.append(logits.detach())
        for parameter in parameters:
            if parameter.grad is not None:  # the next piece may write into its memory
                sums[parameter] = sums.get(parameter, 0) + parameter.grad * share
    for parameter in parameters:
        parameter.grad = sums.get(parameter)
    return torch.stack(losses).sum(), torch.cat(outputs)


def _kept(logits: Tensor) -> Tensor:
    """Return logits without their graph, in float32 at least."""
    logits = logits.detach()
    return logits.float() if logits.dtype.itemsize < 4 else logits


def evaluate_draws(
    closure: Callable[[], Tensor], draws: Mapping[Tensor, Tensor], parameters: Iterable[Tensor]
) -> tuple[Tensor, dict[Tensor, Tensor]]:
    """Call a closure at each of S weight draws, as `Closure.at` does; `parameters` are all."""
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
