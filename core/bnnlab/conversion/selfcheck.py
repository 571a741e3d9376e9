"""A module is the same on every path by which it is run, or what is not is named."""

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
    """See that a module and its segments give the same outputs on every path.

    Training mode may differ from evaluation mode where a part of the module asks which it is, but
    not by what a `train` of its own does. The outputs are equal to rounding: within the root of the
    dtype's epsilon, relative to the largest. Where they are not, and rounding may be why, they must
    be in float64, see `_beyond_rounding`.

    Raises:
        UsageError: If they differ, with the part where that begins, or the module cannot be run.
    """
    chain = module if list(segments) == [module] else nn.Sequential(*segments)
    difference = _difference(module, chain, x)
    if difference:
        try:
            difference = _beyond_rounding(module, chain, x, difference)
        except Exception as error:  # it cannot be copied or be of float64: what was seen stands
            log.info("not compared in float64: %s", first_line(error))
    if difference:
        raise UsageError(difference)


def _beyond_rounding(module: nn.Module, chain: nn.Module, x: Tensor, seen: str) -> str | None:
    """Return the difference if it is more than rounding.

    Signs enlarge rounding, and outputs that should be 0 are nothing else: those of float32 and of
    float64 have little in common. There float64 decides, with the tolerance of float32; elsewhere
    what was seen stands.
    """
    copies, floats = copy.deepcopy(nn.ModuleList([module, chain])), x.is_floating_point()
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
    who, first = type(module).__name__, run(module, x, GRADIENTS)
    if not bool(first.isfinite().any()):
        log.warning("%s returns no finite number for probe inputs: nothing can be compared", who)
    may_differ = any(asks_mode(part) or is_hooked(part) for part in module.modules())
    if not any(map(has_own_train, module.modules())):
        may_differ = True  # something asks, for nothing else can tell the modes apart
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


def _around(parts: Collection[nn.Module], call: Call) -> None:
    """Let `call(part, forward, *args)` run in place of each part's forward.

    No hooks are used, for torch computes in other ways where there are some. `undisturbed` ends it.
    """
    for part in parts:
        if not isinstance(part, torch.jit.ScriptModule):
            vars(part)["forward"] = partial(call, part, part.forward)


def _first_to_differ(module: nn.Module, x: Tensor, path: str) -> str:
    """Return the innermost part that makes other outputs of the same inputs, in words, if seen."""
    names = {part: name for name, part in module.named_modules()}
    seen: list[dict[tuple[str, int], tuple[list[Tensor], Tensor]]] = []

    def note(part: nn.Module, forward: Call, *args: Any, **more: Any) -> Any:
        given = [each.detach().clone() for each in args if isinstance(each, Tensor)]
        y = forward(*args, **more)
        if isinstance(y, Tensor):
            calls = sum(name == names[part] for name, _ in seen[-1])
            seen[-1][names[part], calls] = given, y.detach().clone()
        return y

    for each in (GRADIENTS, path):
        seen.append({})
        with undisturbed(module):
            _around(names, note)
            run(module, x, each)
    for call, (given, y) in seen[0].items():
        others, other = seen[1].get(call, ([], y))
        if not _agree(y, other) and all(map(_agree, given, others)) and call[0]:
            return f", beginning at {call[0]!r} ({type(module.get_submodule(call[0])).__name__})"
    return ""


def _falsify(weight: nn.Parameter) -> None:
    """Give every number another sign and another size; 0 becomes 1."""
    weight.data.mul_(-3).masked_fill_(weight.data == 0, 1)


def calls_of(
    module: nn.Module, layers: Collection[nn.Module], x: Tensor
) -> tuple[list[nn.Module], set[nn.Parameter]]:
    """Return the layers in order of their calls at test, and the weights that others read, too.

    A weight is read by others if the output changes, at test or in training, when it is only there
    while its own layer runs, and another one in its place for everybody else.
    """
    calls: list[nn.Module] = []
    weights = {weight_of(layer): weight_of(layer).detach().clone() for layer in layers}

    def note(layer: nn.Module, forward: Call, *args: Any, **more: Any) -> Any:
        if layer in layers:  # and no copy of one, which has this forward, too
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
                _around([layer for layer in layers if weight_of(layer) in hidden], show)
                for weight in hidden:
                    _falsify(weight)
                return not _agree(first[path], run(module, x, path))
        except UsageError:  # for what was read is not what it must be
            return True
        finally:
            for weight, value in weights.items():
                weight.data.copy_(value)

    first: dict[str, Tensor] = {}
    read: set[nn.Parameter] = set()
    with fused_paths_off():  # they read weights; `binarize` ends that
        with undisturbed(module):
            _around(layers, note)
            first[NO_GRADIENTS] = run(module, x, NO_GRADIENTS)
        first[TRAINING] = run(module, x, TRAINING)
        called = {weight_of(layer) for layer in calls}
        for path in first:
            if is_read(called, path):
                read |= {weight for weight in called if is_read({weight}, path)}
    return calls, read
