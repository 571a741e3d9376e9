"""Data that several runs of one process load once. Nothing here imports torch."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_lock = Lock()
_blocks = 0  # of `keeping` that this process is in
_loaded: dict[Any, Any] = {}
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
            every file that it reads.

    Example:
        >>> @kept
        ... def read(file: Path) -> Tensor:
        ...     return torch.from_numpy(np.load(file))
    """

    @functools.wraps(load)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> T:
        if not _blocks:
            return load(*args, **kwargs)
        key = load, _key(args), _key(sorted(kwargs.items()))
        with _lock:
            _used.add(key)
            if key in _loaded:
                known: T = _loaded[key]
                return known
        result = load(*args, **kwargs)
        with _lock:
            if _blocks:
                _loaded[key] = result
        return result

    return loaded


def forget_unused() -> None:
    """Let go what no one asked for since the last call."""
    with _lock:
        for key in _loaded.keys() - _used:
            del _loaded[key]
        _used.clear()


def _key(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_key, value))
    if isinstance(value, Path):
        with suppress(OSError):
            found = value.stat()
            if S_ISREG(found.st_mode):
                return value, found.st_size, found.st_mtime_ns
    return value
