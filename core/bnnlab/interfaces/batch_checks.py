"""Checks of the batch that a hand-written loop gives to a closure, and of what a rule does to it.

Types, shapes and dtypes are checked before every step. Values are on the device, and reading them
would wait for it: they are checked only after a step has failed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.errors import RunError, UsageError, kind_of
from bnnlab.guards.probing import probe_inputs
from bnnlab.interfaces.batch import Batch
from bnnlab.interfaces.model import Model, goes_by_task, segment_shapes
from bnnlab.interfaces.objective import Objective


def checked(rule: nn.Module, model: Any, given: Any) -> Batch:
    """Return the batch that a rule is given, after a check that rule and model can use it.

    Raises:
        UsageError: If the model is no bnnlab model, the batch is not `(inputs, targets)` with one
            target for each input, or the rule cannot learn from such targets.
    """
    if not isinstance(model, Model):
        raise UsageError(
            f"a rule works on a bnnlab.Model, not on a {type(model).__name__}: give the model that "
            "it wraps, or what bnnlab.binarize(module) or bnnlab.cut(module) makes of it"
        )
    if not isinstance(given, tuple | list) or not 2 <= len(given) <= 3:
        raise UsageError(f"a batch is (inputs, targets), not a {type(given).__name__}")
    inputs, targets, *_ = batch = Batch(*given)
    for what, value in (("inputs", inputs), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise UsageError(f"the {what} are a {type(value).__name__}: give a tensor")
    objective = batch.objective
    if objective.is_of_classes and (targets.ndim != 1 or targets.dtype != torch.int64):
        raise UsageError(
            f"the targets are {kind_of(targets)}: give the number of its class for each input, "
            f"an int64 tensor of shape (B,){_remedy(targets)}. For other targets give the loss, "
            "too: (inputs, targets, task.loss)"
        )
    if not inputs.ndim or inputs.shape[:1] != targets.shape[:1] or not targets.shape[0]:
        raise UsageError(
            f"inputs are {kind_of(inputs)} and targets {kind_of(targets)}: give one target "
            "for each input, and at least one"
        )
    expect_learnable(rule, objective)
    return batch


def expect_learnable(rule: Any, objective: Objective) -> None:
    """Check that a rule can learn from the targets of an objective.

    Raises:
        UsageError: If it cannot.
    """
    if not objective.is_of_classes and not rule.any_loss:
        raise UsageError(
            f"the targets are {objective.name}, and {type(rule).__name__} learns from a class per "
            "input: take a rule that provides 'any-loss', such as bp"
        )


def expect_one_path(rule: nn.Module, model: Model) -> None:
    """Check, for a rule that learns from several tasks at once, that no part goes by the task.

    Raises:
        UsageError: If one does.
    """
    for name, part in model.named_modules():
        if goes_by_task(part):
            raise UsageError(
                f"{type(rule).__name__} learns from several tasks at once, and the model's part "
                f"{name} ({type(part).__name__}) goes by the task (select_task): take one output "
                "layer for all tasks, and for a normalisation statistics=running or recalibrated"
            )


def _remedy(targets: Tensor) -> str:
    if targets.ndim == 2 and targets.shape[1] == 1:
        return "; here targets.flatten().long()"
    if targets.ndim == 2:
        return "; of one-hot rows, targets.argmax(1)"
    real = ", or of real numbers targets[:, None]" if targets.is_floating_point() else ""
    return f"; here targets.long(){real}" if targets.ndim == 1 else ""


def check_rows(rule: nn.Module, own: Batch, learned: Batch) -> None:
    """Check that what a rule recalled begins with the own targets. Waits for the device.

    Raises:
        RunError: If it does not.
    """
    if learned.targets is own.targets:
        return
    first = learned.targets[: len(own.targets)].to(own.targets.device)
    if first.dtype != own.targets.dtype or not torch.equal(first, own.targets):
        raise RunError(
            f"{type(rule).__name__}.recall() returned other targets than its batch's in the first "
            "rows: the batch's own rows come first, joined([batch, past.batch])"
        )


@contextmanager
def targets_kept(rule: nn.Module, batch: Batch) -> Iterator[None]:
    """Refuse that a rule writes into targets. In inference mode torch counts no writes.

    Raises:
        RunError: If it does.
    """
    targets = batch.targets
    before = None if targets.is_inference() else targets._version
    yield
    if before is not None and targets._version != before:
        raise RunError(
            f"{type(rule).__name__} wrote into the targets of its batch: change a copy, "
            "batch.targets.clone()"
        )


def reason(model: Model, batch: Batch) -> str:
    """Return why a step on this batch has failed; empty if the batch is not the cause."""
    inputs, targets, _ = batch
    if torch.is_inference_mode_enabled():
        return "torch.inference_mode is on, in which there are no gradients: leave it for a step"
    weight = next(model.parameters(), inputs)
    if inputs.device != weight.device or targets.device != weight.device:
        return (
            f"the model is on {weight.device}, the inputs on {inputs.device} and the targets on "
            f"{targets.device}"
        )
    shape = tuple(inputs.shape[1:])
    try:
        *_, output = segment_shapes(model, shape)
        batch.objective.check(targets, output[-1])
    except UsageError as error:
        return str(error)
    except ValueError as error:
        return f"the targets {error}"
    except RuntimeError:  # the device cannot be asked any more
        return ""
    if output != (needed := batch.objective.output_shape(tuple(targets.shape[1:]), output[-1])):
        return f"the model returns {output} for an input, and these targets need {needed}"
    wanted = probe_inputs(model, shape, model.segments[0], model.tokens).dtype
    if wanted.is_floating_point and inputs.dtype != wanted:
        return (
            f"the inputs are {inputs.dtype} and the weights {wanted}: convert the inputs, "
            "images of bytes as images.float() / 255"
        )
    if inputs.is_floating_point() and not wanted.is_floating_point:
        return f"the inputs are {inputs.dtype}, and the model takes token ids: inputs.long()"
    return ""
