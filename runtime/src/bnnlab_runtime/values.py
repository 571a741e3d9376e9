"""What passes between the steps of a program, and how a step reads what it is given."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bnnlab_runtime.bits import WORD, Bits, words
from bnnlab_runtime.fields import Fields

Kind = Literal["uint8", "float32", "real", "sums", "bits"]
ITEM = {"uint8": 1, "float32": 4, "real": 4, "sums": 4, "bits": 8}
"""Bytes of one number of a value. The first two are kinds of images."""
LARGEST = 1 << 26
"""Most numbers that a step may make or gather for one image."""


@dataclass(frozen=True)
class Value:
    """The kind and the shape of what a step gives for one image.

    Attributes:
        kind: The kind.
        shape: Of the array without its first dimension, the batch. Of maps `(H, W, C)`.
        channels: Of bits: how many signs are in each `words(channels)` words.
    """

    kind: Kind
    shape: tuple[int, ...]
    channels: int = 0

    @classmethod
    def bits(cls, shape: tuple[int, ...]) -> "Value":
        """Return the value of bits that hold signs of this shape."""
        return cls("bits", (*shape[:-1], words(shape[-1])), shape[-1])

    @property
    def signs(self) -> tuple[int, ...]:
        """The shape of the signs that bits hold; flattened bits hold cells of channels."""
        return (*self.shape[:-1], self.cells * self.channels)

    @property
    def cells(self) -> int:
        """In how many cells of words the channels of flattened bits lie; else 1."""
        return self.shape[-1] // words(self.channels)

    @property
    def numbers(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes it takes."""
        return self.numbers * ITEM[self.kind]

    def __str__(self) -> str:
        of = f" of {self.channels}" if self.kind == "bits" else ""
        return f"{self.kind} {'x'.join(map(str, self.shape))}{of}"


Shape = tuple[int | None, ...]


class Store:
    """The tensors of a file, by name: a name may stand for one tensor of each variant.

    Args:
        tensors: All of them.
        variants: How many variants there are.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]], variants: int) -> None:
        self.variants = variants
        self._tensors = tensors
        self._used: set[str] = set()

    def find(self, name: str, variant: int) -> NDArray[Any] | None:
        """Return what a name means in a variant, or None if nothing."""
        own = name if name in self._tensors else f"{name}@{variant}"
        self._used.add(own)
        return self._tensors.get(own)

    def varies(self, name: Any) -> bool:
        """Return whether a name stands for a tensor of each variant."""
        return name not in self._tensors and f"{name}@0" in self._tensors

    def bytes(self, name: str) -> int:
        """Return the bytes of all tensors that a name stands for."""
        numbers = range(self.variants if self.varies(name) else 1)
        found = (self.find(name, number) for number in numbers)
        return sum(each.nbytes for each in found if each is not None)

    def unused(self) -> list[str]:
        """Return the tensors that no step has found."""
        return sorted(self._tensors.keys() - self._used)


class Step(Fields):
    """A step of a program, for one variant of its tensors.

    Args:
        given: Its JSON object.
        where: What it is, for messages.
        values: The values that were made before.
        store: The tensors of the file.
        variant: For which variant.
    """

    def __init__(
        self, given: Any, where: str, values: Sequence[Value], store: Store, variant: int
    ) -> None:
        super().__init__(given, where)
        numbers = self.wholes("inputs", most=len(values) - 1)
        self.inputs = [values[number] for number in numbers]
        self._names = Fields(self._left.pop("tensors", {}), f"{where}: 'tensors'")
        self._store, self._variant = store, variant

    def done(self) -> None:
        """Refuse parameters and tensors that it does not know."""
        super().done()
        self._names.done()

    def value(self, *kinds: Kind, maps: bool | None = None) -> Value:
        """Return its only input, which must be of one of these kinds.

        Args:
            kinds: The kinds.
            maps: Whether it must be maps `(H, W, C)` (or must not be); None for either.
        """
        if len(self.inputs) != 1:
            self.refuse(f"takes 1 input, and has {len(self.inputs)}")
        return self.check(self.inputs[0], *kinds, maps=maps)

    def check(self, value: Value, *kinds: Kind, maps: bool | None = None) -> Value:
        """Return an input that is of one of these kinds, as `value` does."""
        if value.kind not in kinds or maps not in (None, len(value.shape) == 3):
            shape = {None: "", True: " (H, W, C)", False: " (F)"}[maps]
            self.refuse(f"takes {' or '.join(kinds)}{shape}, and is given {value}")
        return value

    def tensor(self, role: str, *options: tuple[str, Shape]) -> NDArray[Any]:
        """Return a tensor whose type and shape are one of the options; None fits any size."""
        name = self._names.text(role)
        tensor = self._store.find(name, self._variant)
        if tensor is None:
            self.refuse(f"the file has no tensor {name!r}, its {role!r}")
        if not any(dtype == tensor.dtype and _fits(tensor, shape) for dtype, shape in options):
            wanted = " or ".join(f"{dtype} {shape}" for dtype, shape in options)
            self.refuse(
                f"its {role!r} must be {wanted.replace('None', 'any')}, and {name!r} is "
                f"{tensor.dtype} {tensor.shape}"
            )
        return tensor

    def real_or_none(self, role: str, *shapes: Shape) -> NDArray[np.float32] | None:
        """Return a float32 tensor of one of these shapes; None if none is given."""
        return self.tensor_or_none(role, *[("float32", shape) for shape in shapes])

    def tensor_or_none(self, role: str, *options: tuple[str, Shape]) -> NDArray[Any] | None:
        """Return a tensor as `tensor` does; None if none is given."""
        return self.tensor(role, *options) if role in self._names else None

    def unpadded(self, last_words: Bits, channels: int) -> None:
        """Refuse words, the last of each cell, with bits above the last channel."""
        used = channels % WORD
        if used and np.any(last_words >> np.uint64(used)):
            self.refuse(f"a tensor of bits has some above channel {channels}: they must be 0")


def _fits(tensor: NDArray[Any], shape: Shape) -> bool:
    return len(shape) == tensor.ndim and all(
        wanted in (None, side) for wanted, side in zip(shape, tensor.shape, strict=True)
    )
