"""Writing the file: safetensors, with the program and a digest of it all."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bnnlab.errors import UsageError
from bnnlab_export.packing import Array

FORMAT = "bnnlab-1"
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
    """Return whether a file is an export; an empty file may be replaced, too."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            header = file.read(min(int.from_bytes(start, "little"), 1 << 23))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return not start or f'"{FORMAT}"'.encode() in header
