"""Arrays that later processes need not compute again: files in the platform's cache folder.

A file has one line with a digest of the rest, one line of JSON, and the bytes of the arrays. It is
written whole or not at all, so processes may read and write the same one at the same time.
"""

import hashlib
import json
import logging
import mmap
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import platformdirs

from bnnlab.storage.files import write_atomically

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_HEAD = 65
"""Bytes of the first line."""
_ALIGNED = 64
"""Bytes to whose multiples an array begins."""


class Content(NamedTuple):
    """What is kept under a key.

    Attributes:
        arrays: By name.
        about: In JSON types.
    """

    arrays: "Mapping[str, np.ndarray[Any, Any]]"
    about: Any


def folder() -> Path:
    """Return the folder of all files."""
    return platformdirs.user_cache_path("bnnlab") / "arrays"


def find(key: str) -> Content | None:
    """Return what is kept under a key, mapped into memory; what is written there stays unsaved.

    None if there is nothing, or, with a warning, if the file is damaged.

    Args:
        key: Hexadecimal digits: a digest of all that the arrays depend on.
    """
    path = folder() / key
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error.strerror)
        return None
    except ValueError:  # it is empty
        mapped = mmap.mmap(-1, 1)
    with memoryview(mapped) as whole:
        is_whole = whole[:_HEAD] == _digest(whole[_HEAD:])
    if is_whole:
        return _read(mapped)
    log.warning("%s is damaged: it is made again", path)
    return None


def keep(key: str, content: Content) -> None:
    """Keep arrays for later processes; if that is not possible, say why.

    Args:
        key: As in `find`.
        content: What it will return.
    """
    size = sum(array.nbytes for array in content.arrays.values())
    try:
        folder().mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder()).free
        if size > free / 2:
            raise OSError(f"{size:,} bytes are more than half of what is free there")
        write_atomically(folder() / key, *_pieces(content))
    except OSError as error:
        why = error.strerror or error
        log.warning("later runs must read the data again: cannot write to %s: %s", folder(), why)


def files() -> list[Path]:
    """Return all files, also unfinished ones of processes that died."""
    return sorted(folder().iterdir()) if folder().is_dir() else []


def size() -> int:
    """Return the bytes of all files."""
    return sum(file.stat().st_size for file in files() if file.exists())


def clear() -> int:
    """Delete all files; return their bytes. A process that has mapped one keeps it.

    Raises:
        OSError: If one cannot be deleted.
    """
    freed = size()
    for file in files():
        file.unlink(missing_ok=True)
    return freed


def _pieces(content: Content) -> list[bytes | memoryview]:
    import numpy as np

    arrays = {name: np.ascontiguousarray(array) for name, array in content.arrays.items()}
    about = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    head = json.dumps({"arrays": about, "about": content.about}).encode()
    head += b" " * (-(_HEAD + len(head) + 1) % _ALIGNED) + b"\n"
    pieces: list[bytes | memoryview] = [head]
    for array in arrays.values():
        pieces += [array.reshape(-1).view("u1").data, bytes(-array.nbytes % _ALIGNED)]
    return [_digest(*pieces), *pieces]


def _read(mapped: mmap.mmap) -> Content:
    import numpy as np

    mapped.seek(_HEAD)
    head, arrays = json.loads(mapped.readline()), {}
    at = mapped.tell()
    for name, (kind, shape) in head["arrays"].items():
        dtype = np.dtype(kind)
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(mapped, dtype, count, at).reshape(shape)
        at += -(-count * dtype.itemsize // _ALIGNED) * _ALIGNED
    return Content(arrays, head["about"])


def _digest(*pieces: bytes | memoryview) -> bytes:
    made = hashlib.blake2b(digest_size=32)
    for piece in pieces:
        made.update(piece)
    return f"{made.hexdigest()}\n".encode()
