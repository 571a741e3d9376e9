"""Steps that layers have in common: what waits is computed, or folded into thresholds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab_export.exported import Layer
from bnnlab_export.folding import above_mean, falls_after, thresholds
from bnnlab_export.packing import Array, pack
from bnnlab_export.program import Program
from bnnlab_export.values import (
    Affine,
    Curve,
    Item,
    MaxPool,
    Rows,
    Value,
    channels_last,
    composed,
    shifts,
)


@dataclass(frozen=True, eq=False)
class Pixels:
    """What the input is: images as stored, and what makes the model's inputs of them.

    Attributes:
        mean, std: What is subtracted and then divided by, of the input's shape; None for nothing.
        dtype: `uint8` or `float32`.
        order: int64 `(C H W,)`: which stored pixel each input is; None for the stored order.
    """

    mean: Tensor | None = None
    std: Tensor | None = None
    dtype: str = "float32"
    order: Tensor | None = None

    def inputs(self, images: Tensor) -> Tensor:
        """Return the model's inputs for images in the model's order, in float64."""
        centred = images.double() if self.mean is None else images.double() - self.mean
        return centred if self.std is None else centred / self.std

    def is_exact(self) -> bool:
        """Return whether float32 holds the model's inputs, and their sums, of uint8 exactly."""
        normal = self.uniform() if self.dtype == "uint8" else None
        if normal is None:
            return False
        mean, std = normal
        return mean.is_integer() and 0 <= mean <= 255 and math.frexp(std)[0] == 0.5

    def uniform(self) -> tuple[float, float] | None:
        """Return mean and std, if they are the same at every pixel."""
        given = [torch.zeros(1) if self.mean is None else self.mean]
        given.append(torch.ones(1) if self.std is None else self.std)
        if any(bool((each != each.flatten()[0]).any()) for each in given):
            return None
        mean, std = (float(each.flatten()[0]) for each in given)
        return mean, std


class Builder:
    """Writes the program of a model, value by value.

    Attributes:
        program: What is written.
        pixels: What the input is.
        place: The part of the model that is being written, for messages.
        layers: The layers with weights, as they were called.
    """

    def __init__(self, pixels: Pixels) -> None:
        self.program, self.pixels = Program(), pixels
        self.place = ""
        self.layers: list[Layer] = []
        self._real: dict[Value, Value] = {}  # a value that is used twice is computed once

    def refuse(self, why: str) -> UsageError:
        """Return the error that says that a part cannot be exported, and why."""
        return UsageError(f"{self.place} cannot be exported: {why}.")

    def images(self, like: Tensor) -> Value:
        """Return the input, its pixels in the model's order."""
        order, number = self.pixels.order, 0
        if order is not None:
            number = self.program.add("permute", 0, tensors={"index": order.int().numpy()})
        return Value(number, "pixels", like)

    def waiting(self, value: Value, item: Item, like: Tensor) -> Value:
        """Return a value with a function behind it that waits."""
        value = value if value.kind in ("real", "sums") else self.real(value)
        return replace(value, like=like, chain=(*value.chain, item))

    def real(self, value: Value) -> Value:
        """Return a value as real numbers, after all that waits."""
        if value not in self._real:
            self._real[value] = self._made_real(value)
        return self._real[value]

    def _made_real(self, value: Value) -> Value:
        if value.before is not None and not value.chain and value.kind != "real":
            return self.flat(self.real(value.before), value.like)
        number, kind = value.number, value.kind
        if kind == "pixels":
            number = self._normalised(number)
        elif kind == "bits":
            number = self.program.add("unpack", number)
        done = self._computed(replace(value, number=number))
        return Value(done, "real", value.like, order=value.order)

    def signs(self, value: Value, sign: Callable[[Tensor], Tensor], like: Tensor) -> Value:
        """Return the signs of a value as bits."""
        if value.kind == "bits":
            return value
        value = self.real(value) if value.kind == "pixels" else value
        by_mean = above_mean(value)
        value = value if by_mean is not None else self._after_rows(value)
        if by_mean is not None:
            number = self.program.add("row_threshold", value.number, **by_mean)
        elif not value.chain and value.kind == "real":
            number = self.program.add("sign", value.number)
        else:
            number = self._compared(value, sign)
        return Value(number, "bits", like, order=value.order)

    def flat(self, value: Value, like: Tensor) -> Value:
        """Return a map as one row of features."""
        if value.like.ndim == 2:
            return replace(value, like=like)
        if value.kind == "pixels":  # which are flattened once they are real
            return replace(value, like=like, order=channels_last(value.like), before=value)
        value = self.real(value) if value.chain or value.kind == "sums" else value
        number = self.program.add("flatten", value.number)
        sides = value.like[0, 0].numel()
        return Value(
            number, value.kind, like, order=channels_last(value.like), positions=sides,
            before=value,
        )  # fmt: skip

    def pool(self, number: int, kind: str, count_outside: bool, **sizes: Any) -> int:
        """Write a pool of real numbers."""
        return self.program.add("pool", number, kind=kind, count_outside=count_outside, **sizes)

    def numbers(self, value: Value, features: Tensor) -> Array:
        """Return numbers per feature as float32, in the order of the program."""
        return np.ascontiguousarray(value.in_order(features.detach().float()).numpy())

    def _normalised(self, number: int) -> int:
        given = {"mean": self.pixels.mean, "std": self.pixels.std}
        tensors = {name: _last(it) for name, it in given.items() if it is not None}
        return self.program.add("normalise", number, tensors=tensors)

    def _computed(self, value: Value) -> int:
        """Write what waits; return the number of the result."""
        number, chain = value.number, value.chain
        if value.kind == "sums" and not (chain and isinstance(chain[0], Affine | Rows)):
            number = self._affine(value, number, [])
        for is_affine, items in groupby(chain, lambda item: isinstance(item, Affine)):
            if is_affine:
                number = self._affine(value, number, [*items])
            else:
                for item in items:
                    number = self._written(value, number, item)
        return number

    def _affine(self, value: Value, number: int, items: Sequence[Item]) -> int:
        gain, shift = composed(items, value.like.shape[1])
        b = self.numbers(value, shift) if shifts(items) else None
        tensors = {"a": self.numbers(value, gain), "b": b}
        return self.program.add("affine", number, tensors=tensors)

    def _written(self, value: Value, number: int, item: Item) -> int:
        if isinstance(item, Curve):
            return self.program.add("activate", number, **item.parameters)
        if isinstance(item, MaxPool):
            return self.pool(number, "max", False, **item.sizes)
        assert isinstance(item, Rows)
        given = {"gain": item.gain, "shift": item.shift}
        tensors = {name: self.numbers(value, it) for name, it in given.items() if it is not None}
        sizes: dict[str, Any] = {"groups": item.groups, "eps": item.eps}
        return self.program.add("norm_rows", number, tensors=tensors, **sizes)

    def _after_rows(self, value: Value) -> Value:
        """Compute what waits up to the last row normalisation, which mixes channels."""
        last = max((n for n, it in enumerate(value.chain) if isinstance(it, Rows)), default=None)
        if last is None:
            return value
        before, rest = value.chain[: last + 1], value.chain[last + 1 :]
        number = self._computed(replace(value, chain=before))
        return Value(number, "real", value.like, chain=rest, order=value.order)

    def _compared(self, value: Value, sign: Callable[[Tensor], Tensor]) -> int:
        """Write thresholds, and the pooling of signs."""
        chain, bound = value.chain, value.bound if value.kind == "sums" else 0
        found, flips = thresholds(chain, sign, value.like, bound)
        t = self.numbers(value, found)
        tensors = {"t": t.astype(np.int32) if bound else t, "flip": pack(value.in_order(flips))}
        number = self.program.add("threshold", value.number, tensors=tensors)
        for place, item in enumerate(chain):
            if isinstance(item, MaxPool):
                falls = pack(falls_after(chain, sign, value.like, bound, place))
                number = self.program.add("or_pool", number, tensors={"flip": falls}, **item.sizes)
        return number


def _last(normal: Tensor) -> Array:
    """Return a mean or std of the input's shape with the channels last; per channel if it is."""
    if normal.ndim == 3:
        if bool((normal == normal[:, :1, :1]).all()):
            normal = normal[:, 0, 0]
        else:
            normal = normal.permute(1, 2, 0)
    return np.ascontiguousarray(normal.float().numpy())
