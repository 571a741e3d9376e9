"""Put back what running a module changes: its attributes and buffers, and the global generators."""

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
    """Put the global generators back afterwards: torch's, Python's and NumPy's.

    Yields:
        Whether anything has been drawn since, on the CPU or a device of the module.
    """
    kinds = {p.device for p in module.parameters() if hasattr(torch, p.device.type)}
    devices = [device for device in kinds if device.type not in ("cpu", "meta")]
    kind = devices[0].type if devices else "cuda"

    def torchs() -> list[Tensor]:
        others = [torch.get_device_module(kind).get_rng_state(device) for device in devices]
        return [torch.get_rng_state(), *others]

    before, pythons = torchs(), random.getstate()
    numpys: Any = numpy.random.get_state()

    def has_drawn() -> bool:
        _, keys, *rest = numpy.random.get_state()
        same = random.getstate() == pythons and all(map(torch.equal, torchs(), before))
        return not same or rest != [*numpys[2:]] or not numpy.array_equal(keys, numpys[1])

    try:
        with torch.random.fork_rng(devices, device_type=kind):
            yield has_drawn
    finally:
        random.setstate(pythons)
        numpy.random.set_state(numpys)


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Put a module's modes, attributes and buffers, and the global generators, back afterwards."""
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
    """Return a function that puts back the class and attributes of a module's parts."""
    parts = [
        (part, type(part), dict(vars(part)), held(vars(part).values()))
        for part in module.modules()
        if not isinstance(part, torch.jit.ScriptModule)
    ]

    def put_back() -> None:
        for part, kind, attributes, values in parts:
            part.__class__ = kind
            vars(part).clear()
            vars(part).update(attributes)
            for value, content in values:
                refill(value, content)

    return put_back


def held(values: Iterable[Any]) -> list[tuple[Any, list[Any]]]:
    """Return the lists, dicts and sets among values, each with its content."""
    return [(v, _contents(v)) for v in values if isinstance(v, list | dict | set | deque)]


def holds_others(value: Any, content: list[Any]) -> bool:
    """Return whether a list, dict or set no longer has the content that `held` returned."""
    return [*map(id, _contents(value))] != [*map(id, content)]


def refill(value: Any, content: list[Any]) -> None:
    """Put the content that `held` returned back into a list, dict or set."""
    if not holds_others(value, content):
        return
    value.clear()
    if isinstance(value, dict):
        half = len(content) // 2
        value.update(zip(content[:half], content[half:], strict=True))
    else:
        (value.update if isinstance(value, set) else value.extend)(content)


def _contents(value: Any) -> list[Any]:
    """Return what is in a list, a set or a dict: its keys, then its values."""
    return [*value, *(value.values() if isinstance(value, dict) else ())]
