"""Put back what a run of a module has changed: its attributes, buffers and global generators."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor, nn


@contextmanager
def generators_kept(module: nn.Module) -> Iterator[Callable[[], bool]]:
    """Put back the global random generators afterwards: torch's, Python's and NumPy's.

    Yields:
        A function that returns whether anything was drawn, on the CPU or on the module's devices.
    """
    kinds = {p.device for p in module.parameters() if hasattr(torch, p.device.type)}
    devices = [device for device in kinds if device.type not in ("cpu", "meta")]
    kind = devices[0].type if devices else "cuda"

    def torch_states() -> list[Tensor]:
        others = [torch.get_device_module(kind).get_rng_state(device) for device in devices]
        return [torch.get_rng_state(), *others]

    torch_before, python_before = torch_states(), random.getstate()
    numpy_before: Any = numpy.random.get_state()

    def has_drawn() -> bool:
        if random.getstate() != python_before:
            return True
        if not all(map(torch.equal, torch_states(), torch_before)):
            return True
        name, keys, *rest = numpy.random.get_state()
        name_before, keys_before, *rest_before = numpy_before
        return (name, rest) != (name_before, rest_before) or not numpy.array_equal(
            keys, keys_before
        )

    try:
        with torch.random.fork_rng(devices, device_type=kind):
            yield has_drawn
    finally:
        random.setstate(python_before)
        numpy.random.set_state(numpy_before)


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Put back a module's modes, attributes and buffers, and the global generators, afterwards."""
    put_back = snapshot(module)
    values = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        with generators_kept(module):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)
        put_back()


def snapshot(module: nn.Module) -> Callable[[], None]:
    """Return a function that puts back the class and the attributes of a module's parts.

    Lists, dicts and sets among the attributes get back their present content.
    """
    parts = [
        (part, type(part), dict(vars(part)), held(vars(part).values()))
        for part in module.modules()
        if not isinstance(part, torch.jit.ScriptModule)
    ]

    def put_back() -> None:
        for part, kind, attributes, contents in parts:
            part.__class__ = kind
            vars(part).clear()
            vars(part).update(attributes)
            for value, content in contents:
                refill(value, content)

    return put_back


def held(values: Iterable[Any]) -> list[tuple[Any, list[Any]]]:
    """Return the lists, dicts and sets among values, each with its present content."""
    return [(v, _content(v)) for v in values if isinstance(v, list | dict | set | deque)]


def holds_others(value: Any, content: list[Any]) -> bool:
    """Return whether a list, dict or set has another content than `held` has returned for it."""
    return [id(each) for each in _content(value)] != [id(each) for each in content]


def refill(value: Any, content: list[Any]) -> None:
    """Give a list, dict or set the content that `held` has returned for it."""
    if not holds_others(value, content):
        return
    value.clear()
    if isinstance(value, dict):
        keys, values = content[: len(content) // 2], content[len(content) // 2 :]
        value.update(zip(keys, values, strict=True))
    elif isinstance(value, set):
        value.update(content)
    else:
        value.extend(content)


def _content(value: Any) -> list[Any]:
    """Return the elements of a list or set; the keys of a dict, then its values."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value)
