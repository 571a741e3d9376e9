"""Operations on real numbers (float32), in NumPy: what they mean."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnnlab_runtime.bits import signs, words
from bnnlab_runtime.functions import FUNCTIONS
from bnnlab_runtime.op import Op
from bnnlab_runtime.values import Step, Value
from bnnlab_runtime.windows import Window

Real = NDArray[np.float32]


class Normalise(Op):
    """Images -> real, channels last: (x - mean) / std."""

    def read(self, step: Step) -> None:
        """Tensors mean and std, (C,) or of the whole image with channels last; or none."""
        pixels = step.value("uint8", "float32")
        self.maps = len(pixels.shape) == 3
        shape = (*pixels.shape[1:], pixels.shape[0]) if self.maps else pixels.shape
        self.output = Value("real", shape)
        self.mean = step.real_or_none("mean", shape[-1:], shape)
        self.std = step.real_or_none("std", shape[-1:], shape)

    def __call__(self, x: NDArray[Any]) -> Real:
        """Map `(B, C, H, W)` to `(B, H, W, C)`, or `(B, F)` to `(B, F)`."""
        last = x.transpose(0, 2, 3, 1) if self.maps else x
        y = last.astype(np.float32, order="C")
        if self.mean is not None:
            y -= self.mean
        if self.std is not None:
            y /= self.std
        return y


class Linear(Op):
    """Real -> real: x @ weight.T."""

    def read(self, step: Step) -> None:
        """Weight float32 (O, F), or signs as uint64 (O, words)."""
        real = step.value("real", maps=False)
        (self.inputs,) = real.shape
        self.weight = step.tensor(
            "weight",
            ("float32", (None, self.inputs)),
            ("uint64", (None, words(self.inputs))),
        )
        if self.weight.dtype == np.uint64:
            step.unpadded(self.weight[:, -1], self.inputs)
        self.output = Value("real", self.weight.shape[:1])
        self.products = len(self.weight) * self.inputs

    def prepare(self) -> None:
        """Transpose the weight, and unpack it if it is of signs."""
        self.matrix = _unpacked(self.weight, self.inputs).T

    def __call__(self, x: Real) -> Real:
        """Map `(B, F)` to `(B, O)`."""
        return x @ self.matrix


class Conv(Op):
    """Real -> real: a convolution whose border is padded with zeros."""

    def read(self, step: Step) -> None:
        """Weight float32 (O, kh, kw, C / groups), or its signs as uint64 (O, words)."""
        real = step.value("real", maps=True)
        self.groups = step.whole("groups", 1)
        self.channels, rest = divmod(real.shape[-1], self.groups)
        if rest:
            step.refuse(f"{real.shape[-1]} channels are no {self.groups} equal groups")
        self.window = Window.read(step, real.shape)
        kernel = self.window.kernel
        self.inputs = math.prod(kernel) * self.channels
        self.weight = step.tensor(
            "weight",
            ("float32", (None, *kernel, self.channels)),
            ("uint64", (None, words(self.inputs))),
        )
        if len(self.weight) % self.groups:
            step.refuse(f"{len(self.weight)} outputs are no {self.groups} equal groups")
        self.depthwise = self.channels == 1 and len(self.weight) == self.groups
        if self.weight.dtype == np.uint64:
            step.unpadded(self.weight[:, -1], self.inputs)
        self.output = Value("real", (*self.window.outputs, len(self.weight)))
        self.gathered = math.prod(self.window.outputs) * math.prod(kernel) * real.shape[-1]
        self.products = self.output.numbers * self.inputs

    def prepare(self) -> None:
        """Make a matrix for each group, `(groups, kh kw C / groups, O / groups)`.

        Of a depthwise convolution, whose groups have one channel, it is `(kh, kw, C)`.
        """
        real = _unpacked(self.weight, self.inputs)
        if self.depthwise:
            by_tap = real.reshape(self.groups, *self.window.kernel)
            self.matrices = np.ascontiguousarray(by_tap.transpose(1, 2, 0))
            return
        grouped = real.reshape(self.groups, len(real) // self.groups, -1)
        self.matrices = np.ascontiguousarray(grouped.transpose(0, 2, 1))

    def __call__(self, x: Real) -> Real:
        """Map `(B, H, W, C)` to `(B, H', W', O)`."""
        patches = self.window.patches(x)
        if self.depthwise:
            return np.einsum("bijklc,klc->bijc", patches, self.matrices)
        places = len(x) * math.prod(self.window.outputs)
        grouped = patches.reshape(places, -1, self.groups, self.channels).transpose(2, 0, 1, 3)
        sums = grouped.reshape(self.groups, places, -1) @ self.matrices
        return sums.transpose(1, 0, 2).reshape(len(x), *self.output.shape)


class Affine(Op):
    """Sums or real -> real: x a + b, for each channel."""

    def read(self, step: Step) -> None:
        """Tensors a and b (C,); without b, it is 0."""
        x = step.value("sums", "real")
        self.output = Value("real", x.shape)
        self.a = step.tensor("a", ("float32", x.shape[-1:]))
        self.b = step.real_or_none("b", x.shape[-1:])

    def __call__(self, x: NDArray[Any]) -> Real:
        """Map `(B, ..., C)` to the same shape."""
        y = x.astype(np.float32)
        y *= self.a
        if self.b is not None:
            y += self.b
        return y


class NormRows(Op):
    """Sums or real -> real: layer or group normalisation; a group has its channels' maps."""

    def read(self, step: Step) -> None:
        """Parameters groups and eps; tensors gain and shift (C,), or none."""
        x = step.value("sums", "real")
        self.groups, self.eps = step.whole("groups", 1), step.number("eps")
        if x.shape[-1] % self.groups:
            step.refuse(f"{x.shape[-1]} channels are no {self.groups} equal groups")
        self.output = Value("real", x.shape)
        self.gain = step.real_or_none("gain", x.shape[-1:])
        self.shift = step.real_or_none("shift", x.shape[-1:])

    def __call__(self, x: NDArray[Any]) -> Real:
        """Map `(B, ..., C)` to the same shape; moments in float64."""
        grouped = x.reshape(len(x), -1, self.groups, x.shape[-1] // self.groups)
        mean = grouped.mean((1, 3), np.float64, keepdims=True)
        variance = np.square(grouped - mean).mean((1, 3), keepdims=True)
        deviation = np.sqrt(variance + self.eps)
        with np.errstate(divide="ignore", invalid="ignore"):  # of eps 0 and equal numbers
            y = ((grouped - mean) / deviation).astype(np.float32).reshape(x.shape)
        y = y if self.gain is None else y * self.gain
        return y if self.shift is None else y + self.shift


class Activate(Op):
    """Real -> real: a function of each number."""

    def read(self, step: Step) -> None:
        """Parameter function, and what it takes: width or slope."""
        self.output = step.value("real")
        name = step.choice("function", FUNCTIONS)
        self.function, taken = FUNCTIONS[name]
        self.given = [step.number(each) for each in taken]

    def __call__(self, x: Real) -> Real:
        """Map `(B, ...)` to the same shape."""
        with np.errstate(over="ignore"):
            return self.function(x, *map(np.float32, self.given)).astype(np.float32, copy=False)


class Pool(Op):
    """Real -> real: the maximum or the average of each window.

    With `count_outside`, an average divides by what is in the window and its padding, else by what
    is in the maps. (Behind the padding, where `ceil` reaches, nothing counts.)
    """

    def read(self, step: Step) -> None:
        """Parameters kind and count_outside."""
        real = step.value("real", maps=True)
        self.window = Window.read_pool(step, real.shape)
        self.average = step.choice("kind", ["max", "avg"]) == "avg"
        outside = step.flag("count_outside")
        self.margin = self.window.padding if outside else (0, 0)
        self.output = Value("real", (*self.window.outputs, real.shape[-1]))
        self.gathered = self.output.numbers * math.prod(self.window.kernel)

    def prepare(self) -> None:
        """Count what an average divides by."""
        rows, columns = (self.window.inside(axis, self.margin[axis]).sum(1) for axis in (0, 1))
        self.counts = (rows[:, None] * columns)[..., None].astype(np.float32)

    def __call__(self, x: Real) -> Real:
        """Map `(B, H, W, C)` to `(B, H', W', C)`."""
        if not self.average:
            return self.window.patches(x, -np.inf).max((3, 4))
        sums: Real = self.window.patches(x).sum((3, 4))
        return sums / self.counts


class Mean(Op):
    """Real -> real: the average of each map."""

    def read(self, step: Step) -> None:
        """Nothing."""
        self.output = Value("real", step.value("real", maps=True).shape[-1:])

    def __call__(self, x: Real) -> Real:
        """Map `(B, H, W, C)` to `(B, C)`."""
        return x.mean((1, 2))


class Add(Op):
    """Real, real -> real: the sum of two of the same shape."""

    def read(self, step: Step) -> None:
        """Nothing."""
        values = [step.check(each, "real") for each in step.inputs]
        if len(values) != 2 or values[0] != values[1]:
            step.refuse(f"takes 2 inputs of one shape, not {_listed(step)}")
        self.output = values[0]

    def __call__(self, x: Real, y: Real) -> Real:
        """Map two of `(B, ...)` to the same shape."""
        return x + y


class Multiply(Op):
    """Real, real -> real: the product of two of one shape, or of maps and a gain of each."""

    def read(self, step: Step) -> None:
        """Nothing."""
        shapes = [step.check(each, "real").shape for each in step.inputs]
        full = max(shapes, key=len, default=())
        if len(shapes) != 2 or any(shape not in (full, full[-1:]) for shape in shapes):
            step.refuse(f"takes 2 inputs of one shape, or (H, W, C) and (C), not {_listed(step)}")
        self.output = Value("real", full)

    def __call__(self, x: Real, y: Real) -> Real:
        """Map `(B, ..., C)` and `(B, ..., C)` or `(B, C)` to the larger shape."""
        if x.ndim != y.ndim:
            x, y = (each[:, None, None] if each.ndim == 2 else each for each in (x, y))
        return x * y


class Concat(Op):
    """Real, ... -> real: all channels, of the first input first."""

    def read(self, step: Step) -> None:
        """Nothing."""
        if len({step.check(each, "real").shape[:-1] for each in step.inputs}) != 1:
            step.refuse(f"takes inputs whose rows and columns are equal, not {_listed(step)}")
        channels = sum(each.shape[-1] for each in step.inputs)
        self.output = Value("real", (*step.inputs[0].shape[:-1], channels))

    def __call__(self, *inputs: Real) -> Real:
        """Map several of `(B, ..., C)` to one."""
        return np.concatenate(inputs, -1)


class Flatten(Op):
    """Maps of any kind -> one row, in the order H, W, C. Bits keep the padding of each place."""

    def read(self, step: Step) -> None:
        """Nothing."""
        value = step.value("real", "sums", "bits", maps=True)
        self.output = Value(value.kind, (value.numbers,), value.channels)

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map `(B, H, W, C)` to `(B, H W C)`."""
        return x.reshape(len(x), -1)


def _unpacked(weight: NDArray[Any], channels: int) -> Real:
    """Return real weights `(..., channels)`, or signs from their bits `(..., words)`."""
    return signs(weight, channels) if weight.dtype == np.uint64 else weight


def _listed(step: Step) -> str:
    return ", ".join(map(str, step.inputs)) or "none"
