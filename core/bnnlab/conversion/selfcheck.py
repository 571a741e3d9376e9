"""Check that a module gives the same outputs on every path by which it is run."""

import copy
import logging
import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError, first_line
from bnnlab.guards.module_state import undisturbed
from bnnlab.guards.probing import (
    GRADIENTS,
    NO_GRADIENTS,
    PATHS,
    TRAINING,
    asks_mode,
    has_own_train,
    is_hooked,
    run,
)
from bnnlab.interfaces.fused import fused_paths_off
from bnnlab.nn.layers import Sign, weight_of

log = logging.getLogger(__name__)


def self_check(module: nn.Module, segments: Sequence[nn.Module], x: Tensor) -> None:
    """Check that a module and its segments give the same outputs on every path.

    The outputs of training mode may differ from those of evaluation mode if a part of the module
    asks for its mode, but not because of a `train` method of its own. Outputs are equal if they
    differ by at most sqrt(epsilon of the dtype) times the largest output. If they differ by more,
    and rounding may be the cause, they are compared in float64: see `_beyond_rounding`.

    Raises:
        UsageError: If the outputs differ, with the first part that differs; or if the module cannot
            be run.
    """
    chain = module if list(segments) == [module] else nn.Sequential(*segments)
    difference = _difference(module, chain, x)
    if difference:
        try:
            difference = _beyond_rounding(module, chain, x, difference)
        except Exception as error:  # it cannot be copied or run in float64: the difference stands
            log.info("not compared in float64: %s", first_line(error))
    if difference:
        raise UsageError(difference)


def _beyond_rounding(module: nn.Module, chain: nn.Module, x: Tensor, seen: str) -> str | None:
    """Return the difference if it is more than rounding; else None.

    A sign turns a rounding error into a large difference, and outputs that should be 0 consist of
    rounding errors only. In both cases the outputs in float32 and float64 have little in common.
    Then the outputs are compared in float64, with the tolerance of float32. In all other cases the
    difference that was seen stands.
    """
    copies = copy.deepcopy(nn.ModuleList([module, chain]))  # together: they share parameters
    floats = x.is_floating_point()
    rough = run(copies.float()[0], x.float() if floats else x, GRADIENTS)
    x = x.double() if floats else x
    exact = run(copies.double()[0], x, GRADIENTS)
    tolerance = _tolerance(rough)
    signs = any(isinstance(part, Sign) for part in module.modules())
    if not signs and _agree(rough.to(exact.dtype), exact, tolerance):
        return seen
    return _difference(copies[0], copies[1], x, tolerance)


def _difference(
    module: nn.Module, chain: nn.Module, x: Tensor, tolerance: float | None = None
) -> str | None:
    """Return in words how the outputs differ between two paths; None if they are equal."""
    who, first = type(module).__name__, run(module, x, GRADIENTS)
    if not bool(first.isfinite().any()):
        log.warning("%s returns no finite number for probe inputs: nothing can be compared", who)
    parts = [*module.modules()]
    asks = any(asks_mode(part) or is_hooked(part) for part in parts)
    has_train = any(has_own_train(part) for part in parts)
    may_differ = asks or not has_train  # without a `train`, only code that asks can differ
    for path in PATHS:
        y = first if path == GRADIENTS else run(module, x, path)
        if not _agree(y, first, tolerance) and not (path == TRAINING and may_differ):
            where = _first_to_differ(module, x, path)
            return (
                f"{who} gives other outputs {path} than {GRADIENTS}{where}: what is evaluated "
                "would not be what is trained"
            )
        if chain is module or path == GRADIENTS:
            continue
        if not _agree(run(chain, x, path), y, tolerance):
            return f"{who} gives other outputs {path} than its segments one after the other"
    return None


def _agree(one: Tensor, other: Tensor, tolerance: float | None = None) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    tolerance = _tolerance(one) if tolerance is None else tolerance
    return torch.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True)


def _tolerance(y: Tensor) -> float:
    finite = y[y.isfinite()].abs()
    largest = float(finite.max()) if len(finite) else 0.0
    return largest * math.sqrt(torch.finfo(y.dtype).eps)


Call = Callable[..., Any]


def _wrap_forwards(parts: Collection[nn.Module], call: Call) -> None:
    """Run `call(part, forward, *args)` in place of each part's forward, inside `undisturbed`.

    Hooks would not do: torch chooses other kernels for modules that have some.
    """
    for part in parts:
        if not isinstance(part, torch.jit.ScriptModule):
            vars(part)["forward"] = partial(call, part, part.forward)


def _first_to_differ(module: nn.Module, x: Tensor, path: str) -> str:
    """Return in words the innermost part whose outputs differ for the same inputs, if any."""
    usual, other = _record_calls(module, x, GRADIENTS), _record_calls(module, x, path)
    for (name, number), (inputs, output) in usual.items():
        if not name or (name, number) not in other:
            continue
        other_inputs, other_output = other[name, number]
        if not _agree(output, other_output) and all(map(_agree, inputs, other_inputs)):
            return f", beginning at {name!r} ({type(module.get_submodule(name)).__name__})"
    return ""


def _record_calls(
    module: nn.Module, x: Tensor, path: str
) -> dict[tuple[str, int], tuple[list[Tensor], Tensor]]:
    """Return inputs and output of each call of a part, by its name and the number of the call."""
    names = {part: name for name, part in module.named_modules()}
    calls: dict[tuple[str, int], tuple[list[Tensor], Tensor]] = {}

    def note(part: nn.Module, forward: Call, *args: Any, **more: Any) -> Any:
        inputs = [value.detach().clone() for value in args if isinstance(value, Tensor)]
        y = forward(*args, **more)
        if isinstance(y, Tensor):
            number = sum(name == names[part] for name, _ in calls)
            calls[names[part], number] = inputs, y.detach().clone()
        return y

    with undisturbed(module):
        _wrap_forwards(names, note)
        run(module, x, path)
    return calls


def _falsify(weight: nn.Parameter) -> None:
    """Change the sign and the size of every number of a weight; 0 becomes 1."""
    weight.data.mul_(-3).masked_fill_(weight.data == 0, 1)


def calls_of(
    module: nn.Module, layers: Collection[nn.Module], x: Tensor
) -> tuple[list[nn.Module], set[nn.Parameter]]:
    """Return the layers in the order of their calls at test, and the weights that other code reads.

    To find these, the module is run with wrong weights, where each layer has its true weight only
    while the layer itself runs. If the output changes, at test or in training, other code reads a
    weight.
    """
    calls: list[nn.Module] = []
    weights = {weight_of(layer): weight_of(layer).detach().clone() for layer in layers}

    def note(layer: nn.Module, forward: Call, *args: Any, **more: Any) -> Any:
        if layer in layers:  # a copy of a layer has this forward, too
            calls.append(layer)
        return forward(*args, **more)

    def show(layer: nn.Module, forward: Call, *args: Any, **more: Any) -> Any:
        weight = weight_of(layer)
        weight.data.copy_(weights[weight])
        try:
            return forward(*args, **more)
        finally:
            _falsify(weight)

    def is_read(hidden: set[nn.Parameter], path: str) -> bool:
        try:
            with undisturbed(module):
                _wrap_forwards([layer for layer in layers if weight_of(layer) in hidden], show)
                for weight in hidden:
                    _falsify(weight)
                return not _agree(first[path], run(module, x, path))
        except UsageError:  # a wrong weight was read and made the run fail
            return True
        finally:
            for weight, value in weights.items():
                weight.data.copy_(value)

    first: dict[str, Tensor] = {}
    read: set[nn.Parameter] = set()
    with fused_paths_off():  # they read weights; `binarize` ends that
        with undisturbed(module):
            _wrap_forwards(layers, note)
            first[NO_GRADIENTS] = run(module, x, NO_GRADIENTS)
        first[TRAINING] = run(module, x, TRAINING)
        called = {weight_of(layer) for layer in calls}
        for path in first:
            if is_read(called, path):
                read |= {weight for weight in called if is_read({weight}, path)}
    return calls, read
