"""Digests of objects: their attributes, the code of their classes, the values that it uses.

A digest is the same in another process with the same Python. What cannot be read counts by its type
alone: objects of torch that are neither tensors nor modules, and what is made in C.
"""

import dis
import hashlib
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import partial
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType, NoneType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from bnnlab.registry.source import FOREIGN

PLAIN = (NoneType, bool, int, float, complex, str, bytes, PurePath, Enum, torch.dtype, torch.device)
_MODULE = vars(nn.Module()).keys()
Pieces = Iterator[str | bytes]


def fingerprint(value: Any, *, weights: bool = True) -> str:
    """Return 16 digits that identify an object.

    Args:
        value: The object.
        weights: Whether the values of the parameters and buffers of modules count, and not only
            their shapes and dtypes.
    """
    sha = hashlib.sha256()
    for part in _Reader(weights).read(value):
        sha.update(part if isinstance(part, bytes) else f"{part}\n".encode())
    return sha.hexdigest()[:16]


def path_of(value: Any) -> str:
    """Return `module.Class` of an object, or `module.name` of a class or function."""
    while isinstance(value, partial):
        value = value.func
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


class _Reader:
    """Reads an object once, also where it is used in several places."""

    def __init__(self, weights: bool) -> None:
        self._weights = weights
        self._known: dict[int, tuple[int, Any]] = {}  # they stay alive, so that no id comes twice

    def read(self, value: Any) -> Pieces:
        has_objects = isinstance(value, np.ndarray) and value.dtype.hasobject
        if isinstance(value, np.generic) or has_objects:
            value = value.tolist()
        if isinstance(value, PLAIN):
            yield f"{type(value).__name__} {value!r}"
        elif isinstance(value, tuple):  # Python may make two equal ones one
            yield from self._all("tuple", value)
        elif id(value) in self._known:
            yield f"again {self._known[id(value)][0]}"
        else:
            self._known[id(value)] = len(self._known), value
            yield from self._parts(value)

    def _all(self, what: str, values: Any) -> Pieces:
        yield f"{what} {len(values)}"
        for value in values:
            yield from self.read(value)

    def _parts(self, value: Any) -> Pieces:
        match value:
            case Tensor() | np.ndarray():
                yield from _numbers(value)
            case Mapping():
                yield from self._all("mapping", [part for pair in value.items() for part in pair])
            case list():
                yield from self._all("list", value)
            case set() | frozenset():
                yield from self._all("set", sorted(map(fingerprint, value)))
            case partial():
                yield from self._all("partial", [value.func, value.args, value.keywords])
            case MethodType():
                yield from self._all("method", [value.__func__, value.__self__])
            case FunctionType():
                yield from self._function(value)
            case type():
                yield from self._class(value)
            case nn.Module():
                yield from self._module(value)
            case _:
                yield from self.read(type(value))
                if isinstance(value, torch.Generator):
                    yield from _numbers(value.get_state())
                elif not _is_foreign(type(value)):
                    yield from self._all("attributes", getattr(value, "__dict__", {}).items())

    def _module(self, module: nn.Module) -> Pieces:
        if isinstance(module, fx.GraphModule):
            yield module.code
        else:
            yield from self.read(type(module))
            own = {name: it for name, it in vars(module).items() if name not in _MODULE}
            own.pop("initial_latents", None)  # of a Model: weights
            yield from self._all("attributes", own.items())
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            yield f"{name} {None if tensor is None else (tensor.dtype, *tensor.shape)}"
            yield f"{getattr(tensor, 'requires_grad', None)}"
            if self._weights:
                yield from self.read(tensor)
        yield from self._all("children", module._modules.items())

    def _class(self, kind: type) -> Pieces:
        yield path_of(kind)
        for base in kind.__mro__:
            if _is_foreign(base):
                continue
            for name, member in sorted(vars(base).items()):
                inner = getattr(member, "__func__", getattr(member, "fget", member))
                is_value = _is_plain(inner) and not name.startswith("__")
                if isinstance(inner, FunctionType) or is_value:
                    yield from self._all(name, [inner])

    def _function(self, function: FunctionType) -> Pieces:
        yield function.__qualname__
        if _is_foreign(function):
            return
        yield from _code(function.__code__)
        yield from self._all("defaults", [function.__defaults__, function.__kwdefaults__])
        names = _globals_of(function.__code__) & function.__globals__.keys()
        used = [function.__globals__[name] for name in sorted(names)]
        for cell in function.__closure__ or ():
            used += [cell.cell_contents] if cell != type(cell)() else []
        for value in used:  # of all else, that the code says its name is enough
            if isinstance(value, FunctionType) or _is_plain(value):
                yield from self.read(value)


def _is_foreign(named: Any) -> bool:
    """Return whether a class or function comes with Python, torch or a distribution of bnnlab."""
    package = str(named.__module__).partition(".")[0]
    return package != "__main__" and (package in FOREIGN or package.startswith("bnnlab"))


def _is_plain(value: Any, depth: int = 8) -> bool:
    """Return whether a value is plain, or a container of such values, which may be containers."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if not isinstance(value, list | tuple | set | frozenset):
        return isinstance(value, PLAIN)
    return depth > 0 and all(_is_plain(item, depth - 1) for item in value)


def _globals_of(code: CodeType) -> set[str]:
    """Return the names of the globals that code reads, also in the functions inside."""
    reads = (each for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL")
    inner = (_globals_of(each) for each in code.co_consts if isinstance(each, CodeType))
    return {each.argval for each in reads}.union(*inner)


def _code(code: CodeType) -> Pieces:
    yield code.co_code
    yield f"{code.co_names} {code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        else:
            is_set = isinstance(constant, frozenset)
            yield f"{sorted(map(repr, constant)) if is_set else constant!r}"


def _numbers(value: Any) -> Pieces:
    """Yield dtype, shape and values of a tensor or array."""
    yield f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    yield value.tobytes()
