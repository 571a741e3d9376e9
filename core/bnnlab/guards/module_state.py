"""Put back what a run of a module has changed: its attributes, buffers and global generators."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy.random  # noqa: F401 - a generator that is not loaded is not put back
import torch
from torch import Tensor, nn

from bnnlab.guards import ambient


@contextmanager
def generators_kept(module: nn.Module) -> Iterator[Callable[[], bool]]:
    """Put back the global random generators afterwards: torch's, Python's and NumPy's.

    Yields:
        A function that returns whether anything was drawn, on the CPU or on the module's devices.
    """
    devices = {p.device for p in module.parameters() if hasattr(torch, p.device.type)}
    parts = ambient.generators(each for each in devices if each.type not in ("cpu", "meta"))
    before = ambient.read(parts)
    try:
        yield lambda: ambient.read(parts) != before
    finally:
        for name, state in before.items():
            parts[name].write(state)


@contextmanager
def memory_kept(parameters: Iterable[Tensor]) -> Iterator[None]:
    """Give parameters their present memory back afterwards."""
    before = [(parameter, parameter.data) for parameter in parameters]
    try:
        yield
    finally:
        for parameter, data in before:
            parameter.data = data


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Put back a module's modes, attributes and buffers, and the global generators, afterwards."""
    put_back = snapshot(module, module.buffers())
    try:
        with generators_kept(module):
            yield
    finally:
        put_back()


@contextmanager
def all_or_nothing(module: nn.Module, tensors: Iterable[Tensor] = ()) -> Iterator[None]:
    """Put back a module's attributes, and the values of these tensors, if the code inside fails."""
    put_back = snapshot(module, tensors)
    try:
        yield
    except BaseException:
        put_back()
        raise


def snapshot(module: nn.Module, tensors: Iterable[Tensor]) -> Callable[[], None]:
    """Return a function that puts back what there is now.

    That is the class and the attributes of the module's parts, with the content of the lists, dicts
    and sets among them; and the values of these tensors.
    """
    parts = [
        (part, type(part), dict(vars(part)), held(vars(part).values()))
        for part in module.modules()
        if not isinstance(part, torch.jit.ScriptModule)
    ]
    values = [(tensor, tensor.detach().clone()) for tensor in tensors]

    def put_back() -> None:
        for part, kind, attributes, contents in parts:
            part.__class__ = kind
            vars(part).clear()
            vars(part).update(attributes)
            for value, content in contents:
                refill(value, content)
        for tensor, before in values:
            tensor.data.copy_(before)

    return put_back


def held(values: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Return the lists, dicts and sets among values, each with its present content."""
    kinds = (list, dict, set, deque)
    return [(v, dict(v) if isinstance(v, dict) else [*v]) for v in values if isinstance(v, kinds)]


def holds_others(value: Any, content: Any) -> bool:
    """Return whether a list, dict or set has another content than `held` has returned for it."""
    return _ids(value) != _ids(content)


def refill(value: Any, content: Any) -> None:
    """Give a list, dict or set the content that `held` has returned for it."""
    if holds_others(value, content):
        value.clear()
        fill = value.update if isinstance(value, dict | set) else value.extend
        fill(content)


def _ids(value: Any) -> list[int]:
    """Return the identities of the elements, or of the keys and the values of a dict."""
    return [*map(id, value), *map(id, value.values() if isinstance(value, dict) else ())]
