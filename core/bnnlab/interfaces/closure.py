"""The closure of a step: a batch is evaluated at the present weights, or at weight draws."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab.interfaces import batch_checks
from bnnlab.interfaces.batch import Batch, chosen
from bnnlab.interfaces.draw_by_draw import count_of, each_draw, one_by_one, stacked
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
        self.batch_size = self._rows = len(batch.targets)
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
        _clip((parameter.grad for parameter in self._names), self.clip_value)
        self._remember(self.logits)
        return loss

    def _evaluate(self) -> Tensor:
        """Do what a call does, and remember nothing."""
        if self.pieces == 1:
            loss, logits = self._differentiate(self.batch)
        else:
            loss, logits = accumulate(self._differentiate, self.batch, self.pieces, self._names)
        self.logits = _kept(logits[: self._rows])
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
        found = _at_once(self, draws)
        if found is None:
            return stacked(self.at_each(one_by_one(draws)), count_of(draws))
        loss, logits, grads = found
        _clip(grads.values(), self.clip_value)
        self._heard_all(logits)
        return loss, grads

    def at_each(
        self, draws: Iterable[Mapping[Tensor, Tensor]]
    ) -> Iterator[tuple[Tensor, dict[Tensor, Tensor]]]:
        """Evaluate the batch at one weight draw after another, in less memory than `at`.

        Each draw is asked for after the one before has been yielded, so it may take its memory.
        After the last, `.grad` of the other parameters is the mean over the draws.

        Args:
            draws: The value of each drawn parameter, at each draw.

        Yields:
            The loss, a scalar; and the gradient of each drawn parameter, in its shape. The next
            draw may overwrite it. Empty the dict after use: it holds their memory.

        Raises:
            RunError: As in a call.
        """
        logits: list[Tensor] = []
        for loss, grads in each_draw(self._evaluate, draws, self._names):
            assert self.logits is not None
            logits.append(self.logits)
            _clip(grads.values(), self.clip_value)
            yield loss, grads
        self._heard_all(torch.stack(logits))

    def _heard_all(self, logits: Tensor) -> None:
        """Clip what is in `.grad`, and keep the outputs of all draws, `(S, B, ...)`."""
        _clip((parameter.grad for parameter in self._names), self.clip_value)
        self.logits = self._own.objective.merge(logits)
        self._remember(logits.mean(0))

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


def _clip(grads: Iterable[Tensor | None], bound: float | None) -> None:
    """Clip each number of gradients to a size; None: no bound."""
    for grad in grads:
        if grad is not None and bound is not None:
            grad.clamp_(-bound, bound)


def _at_once(
    closure: Closure, draws: Mapping[Tensor, Tensor]
) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]] | None:
    """Return the mean loss, the outputs of the own rows `(S, B, ...)`, and the gradients."""
    names, rule, count = closure._names, closure._rule, count_of(draws)
    named = {names[parameter]: drawn for parameter, drawn in draws.items()}
    if count == 1 or closure.pieces > 1:
        return None
    found = closure._ask(rule.differentiate_draws, closure.batch, named)
    if found is None:
        return None
    _expect_shape(found.logits, (count,), closure.model, closure.batch, type(rule).__name__)
    for parameter, name in names.items():
        if parameter not in draws:
            own = found.grads.get(name)
            parameter.grad = None if own is None else own.mean(0)
    grads = {p: found.grads[names[p]] for p in draws if names[p] in found.grads}
    return found.loss, _kept(found.logits[:, : closure._rows]), grads


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

    B counts the rows recalled, too. Of a stack of models, their number is in front of it.
    """
    classes, shape = model.classes, batch.targets.shape
    models, (rows, *target) = shape[: model._stacked], shape[model._stacked :]
    if classes is None:
        classes = logits.shape[-1] if logits.ndim else -1
    wanted = *draws, *models, rows, *batch.objective.output_shape(tuple(target), classes)
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
