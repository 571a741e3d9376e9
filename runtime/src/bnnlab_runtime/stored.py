"""Reading images from files: arrays of NumPy, and IDX files such as MNIST's."""

import gzip
import io
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_DAMAGE = (
    *(ValueError, EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile),
    *(SyntaxError, RecursionError, tokenize.TokenError),  # of a .npy file's header
)
_IDX = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_images(path: Path) -> Array:
    """Return the array of a .npy, .npz or IDX file; each may be compressed with gzip.

    Its content says what it is, and not its name.

    Raises:
        ValueError: If it is no such file, or an .npz file holds several arrays.
        OSError: If it cannot be read.
        MemoryError: If it is too large.
    """
    try:
        with path.open("rb") as opened:  # NumPy seeks, which a pipe cannot
            file = opened if opened.seekable() else io.BufferedReader(io.BytesIO(opened.read()))
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as inner:
                    return _array(inner)
            return _array(file)
    except _DAMAGE as error:
        raise ValueError(f"{path} is no .npy, .npz or IDX file of images: {error}") from None


def _array(file: "io.BufferedReader[Any] | gzip.GzipFile") -> Array:
    start = file.peek(2)[:2]
    if start == b"\x93N":
        found: Array = np.lib.format.read_array(file, allow_pickle=False)
        return found
    return _only(np.load(file, allow_pickle=False)) if start == b"PK" else _idx(file)


def _only(found: Any) -> Array:
    """Return the only array of an .npz file, or the one that is called images."""
    names = found.files
    if "images" not in names and len(names) != 1:
        raise ValueError(f"it holds the arrays {', '.join(names)}; one must be called images")
    return found["images" if "images" in names else names[0]]


def _idx(file: "io.BufferedReader[Any] | gzip.GzipFile") -> Array:
    """Read the format of MNIST's files: a type, the sizes, and the numbers, big endian."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _IDX:
        raise ValueError("it does not begin as an IDX file")
    shape = np.frombuffer(file.read(4 * start[3]), ">u4").tolist()
    dtype = np.dtype(_IDX[start[2]])
    data = file.read()
    if len(shape) < start[3] or len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"it has {len(data)} bytes for an array {tuple(shape)}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
