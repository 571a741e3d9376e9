"""Digests of objects: their attributes, the code of their classes, what this code refers to.

A digest is the same in another process with the same Python. What cannot be read counts by its name
alone: objects of torch that are neither tensors nor modules, and what is made in C. So do functions
and classes of other installed packages that code refers to.
"""

import dis
import hashlib
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import cached_property, partial
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MethodType, ModuleType, NoneType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from bnnlab.guards.probing import names_of
from bnnlab.registry.source import FOREIGN

PLAIN = (NoneType, bool, int, float, complex, str, bytes, PurePath, Enum, torch.dtype, torch.device)
_NAMESPACES = Namespace, SimpleNamespace
_CONTAINERS = dict, list, tuple, set, frozenset, *_NAMESPACES
_READ = (*PLAIN, *_CONTAINERS, Tensor, np.ndarray, nn.Module, torch.Generator, partial, MethodType)
"""What is read where code refers to it, whoever made its class."""
_MODULE = vars(nn.Module()).keys()
_READS = {"LOAD_GLOBAL", "LOAD_NAME"}
_INSTALLED = {"site-packages", "dist-packages"}
Pieces = Iterator[str | bytes]


def fingerprint(value: Any, *, weights: bool = True) -> str:
    """Return 16 digits that identify an object.

    Args:
        value: The object.
        weights: Whether the values of the parameters and buffers of modules count, and not only
            their shapes and dtypes.
    """
    sha = hashlib.sha256()
    for part in _Reader(weights, _top(path_of(value))).read(value):
        sha.update(part if isinstance(part, bytes) else f"{part}\n".encode())
    return sha.hexdigest()[:16]


def path_of(value: Any) -> str:
    """Return `module.Class` of an object, or `module.name` of a class or function."""
    while isinstance(value, partial):
        value = value.func
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', None)}.{named.__qualname__}"


class _Reader:
    """Reads an object once, also where it is used in several places."""

    def __init__(self, weights: bool, home: str) -> None:
        self._weights, self._home = weights, home
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
                yield _name_of(value)
                yield from self.read(type(value))
                if isinstance(value, torch.Generator):
                    yield from _numbers(value.get_state())
                elif isinstance(value, _NAMESPACES) or not _is_foreign(type(value).__module__):
                    yield from self._all("attributes", _attributes(value).items())

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
            if _is_foreign(base.__module__):
                continue
            for name, member in sorted(vars(base).items()):
                if isinstance(inner := _inner(member), FunctionType) or not name.startswith("__"):
                    yield name
                    yield from self._referred([inner])

    def _function(self, function: FunctionType) -> Pieces:
        yield path_of(function)
        if _is_foreign(function.__module__):
            return
        yield from _code(function.__code__)
        yield from self._all("defaults", [function.__defaults__, function.__kwdefaults__])
        scope, names = function.__globals__, _globals_of(function.__code__)
        used = [scope[name] for name in sorted(names & scope.keys())]
        for cell in function.__closure__ or ():
            used += [cell.cell_contents] if cell != type(cell)() else []
        yield from self._referred(used, names_of(function.__code__))

    def _referred(self, values: Iterable[Any], names: frozenset[str] = frozenset()) -> Pieces:
        """Read what code refers to; of a module of one's own, what it has of the code's `names`."""
        found = [*values]
        for value in found:  # what modules have is added
            kind = value if isinstance(value, type | FunctionType) else type(value)
            if isinstance(value, ModuleType):
                yield value.__name__
                its = vars(value) if self._is_own(value.__name__) else {}
                inside = [its[name] for name in sorted(names & {*its})]
                found += [new for new in inside if not any(new is known for known in found)]
            elif isinstance(value, _READ) or self._is_own(kind.__module__):
                yield from self.read(value)
            else:
                yield _name_of(value)
                yield from self.read(getattr(value, "__dict__", {}).get("__wrapped__"))

    def _is_own(self, module: str) -> bool:
        """Return whether a module is of the package of the object, or of no installed one."""
        file = getattr(sys.modules.get(module), "__file__", None) or ""
        is_near = _top(module) in (self._home, "__main__") or not _INSTALLED & {*Path(file).parts}
        return is_near and not _is_foreign(module)


def _name_of(value: Any) -> str:
    return f"{path_of(value)} {getattr(value, '__name__', '')}"


def _top(module: str) -> str:
    return str(module).partition(".")[0]


def _is_foreign(module: str) -> bool:
    """Return whether a module comes with Python, torch or a distribution of bnnlab."""
    package = _top(module)
    return package != "__main__" and (package in FOREIGN or package.startswith("bnnlab"))


def _inner(member: Any) -> Any:
    """Return the function in a member of a class, if it has one; else the member."""
    match member:
        case staticmethod() | classmethod():
            return member.__func__
        case property():
            return member.fget
        case cached_property():
            return member.func
    return member


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object by name, those in slots, too."""
    found = dict(getattr(value, "__dict__", {}))
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def _globals_of(code: CodeType) -> set[str]:
    """Return the names of the globals that code reads, also in the functions and classes inside."""
    reads = (each for each in dis.get_instructions(code) if each.opname in _READS)
    return {each.argval for each in reads}.union(*map(_globals_of, _inside(code)))


def _inside(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


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
