"""Programs and files for tests: a builder, and a writer that writes whatever it is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bnnlab_runtime.bits import pack, words
from bnnlab_runtime.file import NAMES, digest
from bnnlab_runtime.values import Step, Store, Value

Tensors = dict[str, np.ndarray]


def op(known, name, inputs, tensors=None, **parameters):
    """Return one operation, checked and prepared, on inputs of these values."""
    named = {role: role for role in tensors or {}}
    given = {"inputs": [*range(len(inputs))], "tensors": named, **parameters}
    made = known[name](Step(given, f"step 1 ({name})", inputs, Store(tensors or {}, 1), 0))
    made.prepare()
    return made


def windows(kernel=3, stride=1, padding=0, dilation=1, **more):
    """Return the parameters of windows of equal sides."""
    sides = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return {name: [side, side] for name, side in sides.items()} | more


def map_bits(signs):
    """Return the bits of maps of signs `(B, H, W, C)`, and their value."""
    return pack(signs > 0), Value.bits(signs.shape[1:])


def conv_weight(signs):
    """Pack signs `(O, kh, kw, C / groups)` as bit_conv takes them."""
    bits = pack(signs > 0)
    return np.ascontiguousarray(bits.reshape(len(bits), -1).T)


class Made:
    """A program in the making, on images of a shape."""

    def __init__(self, shape, dtype="uint8"):
        self.program: dict[str, Any] = {
            "format": 1,
            "made_by": "a test",
            "input": {"shape": [*shape], "dtype": dtype},
            "outputs": 0,
            "classes": None,
            "objective": "classes",
            "tasks": None,
            "draws": 1,
            "steps": [],
            "run": {},
        }
        self.tensors: Tensors = {}

    def add(self, name, *inputs, tensors=None, **parameters):
        """Add a step on the last value (or on those of these numbers); return the new number."""
        number = len(self.program["steps"])
        roles = {role: f"{number}.{role}" for role in tensors or {}}
        for role, tensor in (tensors or {}).items():
            self.tensors[roles[role]] = tensor
        given = {"op": name, "inputs": [*inputs] or [number], "tensors": roles, **parameters}
        self.program["steps"].append(given)
        return number + 1

    def write(self, path: Path) -> Path:
        """Write the file."""
        return write(path, json.dumps(self.program), self.tensors)


def write(path, program: str, tensors: Tensors, digested=None) -> Path:
    """Write a file of a program and tensors, with the right digest if none is given."""
    described, data = {}, b""
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        tensor = np.ascontiguousarray(tensors[name])
        described[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": [*tensor.shape],
            "data_offsets": [len(data), len(data) + tensor.nbytes],
        }
        data += tensor.tobytes()
    about = {
        "format": "bnnlab-1",
        "program": program,
        "digest": digested or digest(program, tensors),
    }
    return write_raw(path, {"__metadata__": about, **described}, data)


def write_raw(path, header: Any, data: bytes) -> Path:
    """Write a header (as JSON if it is no bytes) and the data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def perceptron(rng, pixels=(1, 5, 7), hidden=70, classes=3) -> Made:
    """Return a perceptron of two layers with random weights."""
    made = Made(pixels)
    inputs = int(np.prod(pixels))
    signs = rng.integers(0, 2, (hidden, inputs)).astype(bool)
    made.add("plane_linear", tensors={"weight": packed_columns(signs)})
    made.add(
        "threshold",
        tensors={
            "t": rng.integers(-900, 900, hidden).astype(np.int32),
            "flip": pack(rng.integers(0, 2, hidden).astype(bool)),
        },
    )
    signs = rng.integers(0, 2, (classes, hidden)).astype(bool)
    made.add("bit_linear", tensors={"weight": packed_columns(signs)})
    made.add("affine", tensors={"a": np.full(classes, 0.1, np.float32)})
    made.program["outputs"] = classes
    return made


def packed_columns(positive):
    """Pack signs `(O, K)` as bit_linear takes them, `(words, O)`."""
    return np.ascontiguousarray(pack(positive).T)


__all__ = ["Made", "conv_weight", "map_bits", "op", "packed_columns", "perceptron", "words"]
