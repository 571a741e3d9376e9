"""Faults: another model, numbers that are not finite, binary weights that are not signs."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from bnnlab.errors import RunError, kind_of
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer_state import StatefulOptimizer

ADVICE = (
    "Try a smaller learning rate, or bound the gradients if the optimizer has an option for it."
)
REMEDY = "write it by load_state_dict, or by copy_ under torch.no_grad()."


def check_model(optimizer: StatefulOptimizer, model: Model) -> None:
    """Check that a model has the parameters that the optimizer has.

    Raises:
        RunError: If it is another model, or its parameters were replaced or made binary.
    """
    who, groups, names = type(optimizer).__name__, optimizer.param_groups, optimizer._names
    mine = {*names, *(p for group in groups for p in group["params"])}
    theirs = dict(model.named_parameters())
    if theirs and mine.isdisjoint(theirs.values()):
        raise RunError(
            f"{who} was made for another model than the one it is to learn, or all parameters were "
            "replaced, as by load_state_dict(assign=True). Load without assign; a copy goes with "
            "its model: copy.deepcopy((model, optimizer))"
        )
    known_names = {*names.values()}
    for name, parameter in theirs.items():
        if name in known_names and parameter not in mine:
            raise RunError(
                f"{name} is no longer the parameter that {who} was made for: it was replaced, as "
                "by load_state_dict(assign=True). Load without assign, or make a new optimizer"
            )
    real = {p for group in groups if not group["binary"] for p in group["params"]}
    for name, parameter in model.binary_parameters().items():
        if parameter in real:
            raise RunError(
                f"{name} is binary, and {who} has it in a group of real parameters: make a new "
                "optimizer for a model with new binary weights"
            )


def numbers_of(
    optimizer: StatefulOptimizer, losses: Sequence[Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Yield what must be finite, with its name: losses, gradients, real parameters, state."""
    if losses:
        yield "the loss", torch.stack([loss.to(losses[-1]) for loss in losses])
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = optimizer._name(parameter)
            if parameter.grad is not None:
                yield f"the gradient of {name}", parameter.grad
            if not group["binary"]:
                yield name, parameter.detach()
            for key, value in optimizer.state.get(parameter, {}).items():
                for part in tree_leaves(value):
                    if isinstance(part, Tensor) and part.is_floating_point():
                        yield f"{key!r}, kept behind {name},", part


def checked_latent(optimizer: Any, weight: Tensor, name: str) -> Tensor | None:
    """Return what an optimizer keeps behind the weight of this name; None for nothing.

    Raises:
        RunError: If that is no tensor of floats of the weight's shape.
    """
    latent = optimizer.latent(weight)
    who = f"{type(optimizer).__name__}.latent() of {name!r}"
    return None if latent is None else checked_floats(latent, weight, who)


def checked_floats(value: Any, like: Tensor, who: str) -> Tensor:
    """Return what `who` has returned, if it is a tensor of floats of the shape of `like`.

    Raises:
        RunError: If it is something else.
    """
    found = type(value).__name__
    if isinstance(value, Tensor):
        if value.shape == like.shape and value.is_floating_point():
            return value
        found = kind_of(value)
    raise RunError(f"{who} must be a tensor of floats of shape {tuple(like.shape)}, not {found}")


def fault(who: str, name: str, changed: float, off: float, product: float) -> str:
    """Return what is wrong with the weight `name` of the optimizer `who`; empty for nothing.

    The numbers are those of `WriteDetector.faults`.
    """
    no_signs = "holds more than -1 and +1"
    if changed:
        more = f" and {no_signs}" if off else ""
        return (
            f"{name} was written through `.data`, which torch does not count,{more} and "
            f"may be lost by now: {REMEDY}"
        )
    if off:
        wrong = f"binary parameter {name!r} {no_signs}"
    elif product < 0 or math.isnan(product):
        wrong = f"{name} and what {who} keeps behind it differ in sign"
    else:
        return ""
    return f"{wrong}: {who} left them so, or others wrote through `.data`. If so, {REMEDY}"
