"""Reading a model's file, which is believed in nothing. FORMAT.md says what is in it.

It is a safetensors file: 8 bytes with the length of a header, the header (JSON), the tensors.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bnnlab_runtime.errors import BadFile
from bnnlab_runtime.fields import Fields

FORMAT = "bnnlab-1"
DTYPES: dict[str, np.dtype[Any]] = {
    "U64": np.dtype("<u8"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MOST_DIMENSIONS = 4
LARGEST_HEADER = 1 << 23
"""In bytes. A file's programs and names take far less."""

Tensors = dict[str, NDArray[Any]]


def digest(program: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256, in hexadecimal digits, of all that a file says.

    It is that of the program's UTF-8 bytes, and for each tensor, sorted by name, of
    `json.dumps([name, dtype, shape])` and its bytes.
    """
    summed = hashlib.sha256(program.encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        summed.update(json.dumps([name, NAMES[tensor.dtype], list(tensor.shape)]).encode())
        summed.update(tensor.reshape(-1).view(np.uint8).data)
    return summed.hexdigest()


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Tensors]:
    """Return the program and the tensors of a file.

    Raises:
        BadFile: If it is not whole, or no such file.
        OSError: If it cannot be read.
    """
    header, buffer = _parts(Path(path))
    whole = Fields(_parsed(header, "the header"), "the header")
    about = Fields(whole.any("__metadata__"), "the header's __metadata__")
    about.choice("format", [FORMAT])
    program, digested = about.text("program"), about.text("digest")
    about.done()
    tensors = _tensors(whole.rest(), buffer)
    if digest(program, tensors) != digested:
        raise BadFile("the digest is another than that of the content: the file is damaged")
    parsed = _parsed(program.encode(), "the program")
    if not isinstance(parsed, dict):
        raise BadFile("the program is no JSON object")
    return parsed, tensors


def _parts(path: Path) -> tuple[bytes, memoryview]:
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise BadFile("it is a pipe or a device, whose size is not known: write it to a file")
        size = about.st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, LARGEST_HEADER):
            raise BadFile(
                f"{size} bytes cannot have a header of {length}: it is cut off, or another file"
            )
        header = file.read(length)
        buffer = bytearray(size - 8 - length)
        if len(header) < length or file.readinto(buffer) < len(buffer):
            raise BadFile("the file became shorter while it was read")
    if not header.rstrip(b" ").endswith(b"}"):
        raise BadFile("the header does not end as JSON does: the file is damaged")
    return header, memoryview(buffer)


def _tensors(described: Mapping[str, Any], buffer: memoryview) -> Tensors:
    """Return the tensors, which fill the buffer without gaps."""
    spans: dict[str, tuple[int, int]] = {}
    tensors: Tensors = {}
    for name, given in described.items():
        fields = Fields(given, f"tensor {name!r}")
        dtype = DTYPES[fields.choice("dtype", DTYPES)]
        shape = fields.wholes("shape", least=1)
        begin, end = fields.wholes("data_offsets", most=len(buffer), length=2)
        fields.done()
        size = dtype.itemsize * math.prod(shape)
        if end - begin != size or begin % dtype.itemsize or len(shape) > MOST_DIMENSIONS:
            raise BadFile(
                f"tensor {name!r} of shape {shape} takes {size} bytes, and lies at {begin} to "
                f"{end} of {len(buffer)}: the file is damaged"
            )
        spans[name] = begin, end
        tensors[name] = np.frombuffer(buffer[begin:end], dtype).reshape(shape)
    reached = 0
    for begin, end in sorted(spans.values()):
        if begin != reached:
            raise BadFile(f"the tensors overlap or leave a gap at byte {min(begin, reached)}")
        reached = end
    if reached != len(buffer):
        raise BadFile(f"the tensors end at byte {reached} of {len(buffer)}: the file is damaged")
    return tensors


def _parsed(text: bytes, where: str) -> Any:
    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number of JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key is there twice")
        return found

    try:
        return json.loads(text.decode(), parse_constant=constant, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{where} is no JSON text ({error}): the file is damaged") from None
