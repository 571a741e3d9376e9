"""Writing the file: safetensors, with the program and a digest of it all."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np

from bnnlab_export.packing import Array

FORMAT = "bnnlab-1"
_PRODUCER = b"\x12\x0dbnnlab-export"  # as ONNX stores it: field 2, of 13 bytes
_NAMES = {"uint64": "U64", "int32": "I32", "float32": "F32"}


def content(program: Mapping[str, Any], tensors: Mapping[str, Array]) -> bytes:
    """Return the content of a file with this program and these tensors."""
    from safetensors.numpy import save

    held = {name: np.ascontiguousarray(each) for name, each in tensors.items()}
    made_by = f"bnnlab-export {version('bnnlab-export')}"
    text = json.dumps({"format": 1, "made_by": made_by, **program})
    metadata = {"format": FORMAT, "program": text, "digest": _digest(text, held)}
    return save(held, metadata)


def _digest(program: str, tensors: Mapping[str, Array]) -> str:
    summed = hashlib.sha256(program.encode())
    for name, tensor in sorted(tensors.items()):
        described = [name, _NAMES[str(tensor.dtype)], list(tensor.shape)]
        summed.update(json.dumps(described).encode())
        summed.update(tensor.tobytes())
    return summed.hexdigest()


def is_ours(path: Path) -> bool:
    """Return whether a file is an export, of any form; an empty file may be replaced, too."""
    with path.open("rb") as file:
        start = file.read(32)
        header = start + file.read(min(int.from_bytes(start[:8], "little"), 1 << 23))
        try:
            names = ZipFile(file).namelist() if is_zipfile(file) else []
        except BadZipFile:  # whatever it is, nothing that was exported
            names = []
    mine = f'"{FORMAT}"'.encode() in header or _PRODUCER in start
    return not start or mine or any(name.endswith("/bnnlab-run") for name in names)
