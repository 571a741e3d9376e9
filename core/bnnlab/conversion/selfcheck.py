"""Check that a module gives the same outputs on every path by which it is run."""

import copy
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError, first_line
from bnnlab.guards.module_state import undisturbed
from bnnlab.guards.probing import (
    GRADIENTS,
    PATHS,
    TRAINING,
    asks_mode,
    has_own_train,
    is_hooked,
    run,
)
from bnnlab.nn.layers import Sign

log = logging.getLogger(__name__)

Call = Callable[..., Any]


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
    if not signs and agree(rough.to(exact.dtype), exact, tolerance):
        return seen
    return _difference(copies[0], copies[1], x, tolerance)


def _difference(
    module: nn.Module, chain: nn.Module, x: Tensor, tolerance: float | None = None
) -> str | None:
    """Return in words how the outputs differ between two paths; None if they are equal."""
    who, first = type(module).__name__, run(module, x, GRADIENTS)
    if not bool(first.isfinite().any()):
        log.warning("%s returns no finite number for probe inputs: nothing can be compared", who)
    for path in PATHS:
        y = first if path == GRADIENTS else run(module, x, path)
        may_differ = path == TRAINING and _may_differ_in_training(module)
        if not may_differ and not agree(y, first, tolerance):
            where = _first_to_differ(module, x, path)
            return (
                f"{who} gives other outputs {path} than {GRADIENTS}{where}: what is evaluated "
                "would not be what is trained"
            )
        if chain is module or path == GRADIENTS:
            continue
        if not agree(run(chain, x, path), y, tolerance):
            return f"{who} gives other outputs {path} than its segments one after the other"
    return None


def _may_differ_in_training(module: nn.Module) -> bool:
    """Return whether code may ask for the mode; a `train` method may change outputs by itself."""
    parts = [*module.modules()]
    asks = any(asks_mode(part) or is_hooked(part) for part in parts)
    return asks or not any(has_own_train(part) for part in parts)


def agree(one: Tensor, other: Tensor, tolerance: float | None = None) -> bool:
    """Return whether two outputs are equal but for rounding, `_tolerance(one)` if not said."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    tolerance = _tolerance(one) if tolerance is None else tolerance
    return torch.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True)


def _tolerance(y: Tensor) -> float:
    """Return the largest finite number of an output, times sqrt(epsilon of its dtype)."""
    finite = y[y.isfinite()].abs()
    largest = float(finite.max()) if len(finite) else 0.0
    return largest * math.sqrt(torch.finfo(y.dtype).eps)


def _first_to_differ(module: nn.Module, x: Tensor, path: str) -> str:
    """Return in words the innermost part whose outputs differ for the same inputs, if any."""
    usual, others = _calls_by_part(module, x, GRADIENTS), _calls_by_part(module, x, path)
    for name, calls in usual.items():
        for (inputs, y), (other_inputs, other) in zip(calls, others.get(name, []), strict=False):
            if not agree(y, other) and all(map(agree, inputs, other_inputs)):
                return f", beginning at {name!r} ({type(module.get_submodule(name)).__name__})"
    return ""


def _calls_by_part(
    module: nn.Module, x: Tensor, path: str
) -> dict[str, list[tuple[list[Tensor], Tensor]]]:
    """Return inputs and output of each call of a part, by its name; inner parts come first."""
    names = {part: name for name, part in module.named_modules() if name}
    calls: dict[str, list[tuple[list[Tensor], Tensor]]] = defaultdict(list)

    def note(part: nn.Module, forward: Call, *args: Any, **more: Any) -> Any:
        inputs = [value.detach().clone() for value in args if isinstance(value, Tensor)]
        y = forward(*args, **more)
        if part in names and isinstance(y, Tensor):
            calls[names[part]].append((inputs, y.detach().clone()))
        return y

    with intercepted(module, names, note):
        run(module, x, path)
    return calls


@contextmanager
def intercepted(module: nn.Module, parts: Collection[nn.Module], call: Call) -> Iterator[None]:
    """Within it, `call(part, forward, *args)` runs in place of each part's forward.

    Hooks would not do: torch chooses other kernels for modules that have some. A copy that the
    module makes of a part is intercepted, too, and is then the `part` of the call.
    """
    with undisturbed(module):
        for part in parts:
            if not isinstance(part, torch.jit.ScriptModule):
                vars(part)["forward"] = partial(call, part, part.forward)
        yield
