"""Data that several runs of one process load once. Nothing here imports torch."""

import functools
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from bnnlab.errors import RunError

P = ParamSpec("P")
T = TypeVar("T")

_lock = Lock()
_blocks = 0  # of `keeping` that this process is in
_loaded: dict[Any, tuple[Any, bytes]] = {}  # with a digest of its tensors and arrays
_used: set[Any] = set()


class _Block:
    def __enter__(self) -> None:
        global _blocks
        with _lock:
            _blocks += 1

    def __exit__(self, *_: object) -> None:
        global _blocks
        with _lock:
            _blocks -= 1
            if not _blocks:
                _loaded.clear()
                _used.clear()


def keeping() -> AbstractContextManager[None]:
    """Let functions marked as `kept` return what they have loaded before, inside the block.

    The data of one stream are kept: what the stream of a run does not use is let go before the next
    run makes its own. So between two runs with other data, both are in memory. At the end of the
    block nothing is kept. A process that only carries out runs may enter it and never leave.
    """
    return _Block()


def kept(load: Callable[P, T]) -> Callable[P, T]:
    """Mark a function that loads data: inside `keeping`, it is called once for equal arguments.

    Several runs then share what it returned, so nobody may write to it. Outside of `keeping` it is
    called each time. Messages about the data belong outside of it: every run should have them.

    Args:
        load: Its arguments are compared. They can be hashed, or are lists and tuples of such. A
            `Path` to a file is another one if the file's size or time of change is another: pass it
            every file that it reads. It returns tensors or arrays, alone or in lists, tuples,
            mappings and dataclasses, or other data; no generator.

    Raises:
        TypeError: When it is called, if an argument cannot be hashed, or it returns a generator.
        RunError: When it is called, if a tensor or array that is kept has changed meanwhile.

    Example:
        >>> @kept
        ... def read(file: Path) -> Tensor:
        ...     return torch.from_numpy(np.load(file))
    """
    name = f"{load.__module__}.{load.__qualname__}"

    @functools.wraps(load)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
        looks = bool(_blocks)
        key = load, _key(args, name, looks), _key(sorted(kwargs.items()), name, looks)
        with _lock:
            if _blocks:
                _used.add(key)
            known = _loaded.get(key)
        if known is None:
            result = load(*args, **kwargs)
            if isinstance(result, Iterator):
                raise TypeError(f"{name} returns an iterator, which runs cannot share: make a list")
            digest = _digest(result) if _blocks else b""
            with _lock:
                if _blocks:
                    _loaded[key] = result, digest
            return result
        kept, digest = known
        if _digest(kept) != digest:
            raise RunError(
                f"an earlier run wrote to what {name} returned. bnnlab.kept shares it among runs: "
                "clone it before you write to it"
            )
        shared: T = kept
        return shared

    return loaded


def forget_unused() -> None:
    """Let go what no one asked for since the last call."""
    with _lock:
        for key in _loaded.keys() - _used:
            del _loaded[key]
        _used.clear()


def _key(value: Any, name: str, looks: bool) -> Any:
    """Return what stands for an argument: 1 is neither True nor 1.0, a changed file is another.

    Files are looked at only if `looks` is true, since nothing is kept otherwise.
    """
    if type(value) is str:  # first, since there may be many names of files
        return value
    if isinstance(value, list | tuple):
        return tuple(_key(each, name, looks) for each in value)
    if isinstance(value, Path):
        if looks:
            with suppress(OSError):
                found = value.stat()
                if S_ISREG(found.st_mode):
                    return value, found.st_size, found.st_mtime_ns
        return Path, str(value)  # of 60,000 paths, hashes take a quarter of a second
    try:
        hash(value)
    except TypeError:
        what = f"an argument is a {type(value).__name__}"
        raise TypeError(f"bnnlab.kept compares the arguments of {name}, and {what}") from None
    return type(value), value


def _digest(value: Any) -> bytes:
    """Return a digest of the content of all tensors and arrays in a value."""
    made = hashlib.blake2b()
    for array in _arrays(value):
        made.update(array.reshape(-1).view("u1"))
    return made.digest()


def _arrays(value: Any) -> Iterator[Any]:
    import numpy as np

    torch = sys.modules.get("torch")
    if isinstance(value, Mapping):
        value = [*value.values()]
    elif is_dataclass(value):
        value = [getattr(value, each.name) for each in fields(value)]
    if isinstance(value, list | tuple):
        for each in value:
            yield from _arrays(each)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        yield np.ascontiguousarray(value)
    elif torch and isinstance(value, torch.Tensor) and value.layout is torch.strided:
        yield value.detach().cpu().reshape(-1).view(torch.uint8).numpy()
