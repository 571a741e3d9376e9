"""What a device refuses, and what makes the host wait for it, as with CUDA."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NAME = "simulated"

WAITS = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "multinomial"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount"),
    *("_linalg_check_errors", "repeat_interleave"),
}
"""Operations whose result, or its shape, the host must know."""
COPIES = {"_to_copy", "copy_", "_foreach_copy_"}
"""Operations that bring values from one device to another."""
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
"""Operations that take indices from the CPU, too."""
TAKES_NUMBERS = {"masked_fill", "masked_fill_", "fill_", "index_put", "index_put_"}
"""Those that take numbers (tensors without a dimension) from the CPU, beside the elementwise."""

waits: list[str] = []
"""What the host waited for, each as `operation at folder/file.py:line`."""
generators: set[int] = set()
"""Addresses of generators on the device: operations are given other objects for the same ones."""


class DeviceError(RuntimeError):
    """A real device would refuse this; the message says where."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} (at {_place()})")


def is_here(value: object) -> bool:
    """Return whether something is a tensor on the device."""
    return isinstance(value, Tensor) and value.device.type == NAME


def flat(values: Iterable[Any]) -> list[Any]:
    """Return what an operation is given, lists taken apart."""
    return [
        x for value in values for x in (flat(value) if type(value) in (list, tuple) else [value])
    ]


def check(
    operation: Any, name: str, args: Any, kwargs: dict[str, Any], given: list[Any], here: bool
) -> None:
    """Raise DeviceError if an operation is refused, and note if the host waits for it.

    Args:
        operation: What torch dispatches.
        name: Its name, without overload.
        args: What it is given.
        kwargs: What it is given by name.
        given: All of that, `flat`.
        here: Whether its results are on the device.
    """
    tensors = [each for each in given if isinstance(each, Tensor)]
    apart = [each for each in tensors if not is_here(each)]
    if len(tensors) < len(given):
        _check_generators(name, given, here)
    if name in COPIES:
        in_background = kwargs.get("non_blocking", any(each is True for each in given))
        if is_here(tensors[-1]) != here and not (here and in_background):
            note(name)
    elif len(apart) < len(tensors):
        if apart:
            _check_places(operation, name, args, kwargs, apart)
        if name in WAITS or (name in INDEXING and _waits_for_indices(*args)):
            note(name)


_TorchGenerator = torch.Generator  # registering the device replaces the name


def _check_generators(name: str, given: list[Any], here: bool) -> None:
    """Raise where random numbers come from a generator of another device."""
    for each in given:
        if isinstance(each, _TorchGenerator):
            other = each._cdata in generators  # type: ignore[attr-defined]
            if other != here:
                there, place = (NAME, "cpu") if other else ("cpu", NAME)
                raise DeviceError(f"{name} on {place} draws from a generator on {there}")


def _check_places(
    operation: Any, name: str, args: Any, kwargs: dict[str, Any], apart: list[Tensor]
) -> None:
    """Raise where tensors meet some `apart`, on the CPU, that are neither indices nor numbers."""
    indices = {id(each) for each in args[1]} if name in INDEXING else set[int]()
    elementwise = torch.Tag.pointwise in operation.tags or name.startswith("_foreach_")
    takes_numbers = elementwise or name in TAKES_NUMBERS
    written = {id(x) for x in flat(args[:1] if name.endswith("_") else [kwargs.get("out")])}
    refused = [
        each
        for each in apart
        if id(each) not in indices and (each.ndim or not takes_numbers or id(each) in written)
    ]
    if refused:
        shapes = ", ".join(str(tuple(each.shape)) for each in refused)
        raise DeviceError(f"{name} mixes devices: beside {NAME}, the CPU has {shapes}")


def _waits_for_indices(_: Tensor, indices: Any, value: Any = None, *_rest: Any) -> bool:
    """Return whether some come from the CPU, or are masks whose size must be known."""
    found = [each for each in indices if each is not None]
    masks = any(each.dtype in (torch.bool, torch.uint8) for each in found)
    number = value is not None and value.numel() == 1 and (not is_here(value) or value.number)
    return not all(map(is_here, found)) or (masks and not number)  # to write a number needs no size


def note(name: str) -> None:
    """Note that the host waits, and who makes it wait."""
    waits.append(f"{name} at {_place()}")


def _place() -> str:
    """Return `folder/file.py:line` of what called torch."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(_INNER):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name}:{frame.f_lineno}"


_INNER = (
    str(Path(torch.__file__).parent),
    *(str(Path(__file__).with_name(f"{name}.py")) for name in ("device_rules", "simulated_device")),
)
"""Where torch's own code begins, and this."""
