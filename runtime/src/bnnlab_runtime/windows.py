"""Which inputs the windows of convolutions and pools see. A sum's windows lie as in torch."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnnlab_runtime.values import LARGEST, Step

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Windows on maps; each pair is of rows and columns.

    Output i sees the inputs i stride - padding + dilation k, for k = 0 .. kernel - 1.

    Attributes:
        size: Of the maps.
        kernel: Size of a window.
        stride: Distance between windows.
        padding: Rows and columns outside the maps, on each side.
        dilation: Distance between what a window sees.
        ceil: Whether a window may begin in the maps and end behind the padding.
    """

    size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil: bool = False

    @classmethod
    def read(cls, step: Step, size: tuple[int, ...]) -> "Window":
        """Return the windows of a convolution."""
        return cls._checked(step, size)

    @classmethod
    def read_pool(cls, step: Step, size: tuple[int, ...]) -> "Window":
        """Return the windows of a pool: each of them sees at least one input."""
        window = cls._checked(step, size, step.flag("ceil"))
        sides = zip(window.size, window.kernel, window.padding, window.dilation, strict=True)
        if any(2 * padding > kernel or apart > side for side, kernel, padding, apart in sides):
            step.refuse("a pool's padding is at most half its kernel, its dilation at most the map")
        return window

    @classmethod
    def _checked(cls, step: Step, size: tuple[int, ...], ceil: bool = False) -> "Window":
        window = cls(
            (size[0], size[1]),
            step.pair("kernel", 1),
            step.pair("stride", 1),
            step.pair("padding", 0),
            step.pair("dilation", 1),
            ceil,
        )
        if min(window.outputs) < 1:
            step.refuse(f"its kernel {window.kernel} is larger than the padded maps {size[:2]}")
        if math.prod(window.padded) * size[2] > LARGEST:
            step.refuse(f"its padded maps {window.padded} are larger than {LARGEST} numbers")
        return window

    @cached_property
    def outputs(self) -> Pair:
        """How many windows there are."""
        return self._outputs(0), self._outputs(1)

    def _outputs(self, axis: int) -> int:
        size, stride, padding = self.size[axis], self.stride[axis], self.padding[axis]
        room = size + 2 * padding - self.dilation[axis] * (self.kernel[axis] - 1) - 1
        count = (room + (stride - 1 if self.ceil else 0)) // stride + 1
        return count - (self.ceil and (count - 1) * stride >= size + padding)

    @cached_property
    def padded(self) -> Pair:
        """How many rows and columns there are with padding, and with what `ceil` adds."""
        ends = [
            (count - 1) * stride + (kernel - 1) * apart + 1
            for count, stride, kernel, apart in zip(
                self.outputs, self.stride, self.kernel, self.dilation, strict=True
            )
        ]
        sides = [side + 2 * more for side, more in zip(self.size, self.padding, strict=True)]
        return max(ends[0], sides[0]), max(ends[1], sides[1])

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The row that each window sees at each place of its kernel, `(H', kh)`."""
        return self._taps(0)

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """The column that each window sees at each place of its kernel, `(W', kw)`."""
        return self._taps(1)

    def _taps(self, axis: int) -> NDArray[np.int64]:
        starts = np.arange(self.outputs[axis]) * self.stride[axis] - self.padding[axis]
        taps: NDArray[np.int64] = (
            starts[:, None] + np.arange(self.kernel[axis]) * self.dilation[axis]
        )
        return taps

    @property
    def starts(self) -> NDArray[np.int64]:
        """The place in padded maps at which each window begins, `(H' W')`."""
        return self._places(self.outputs, self.stride)

    @property
    def taps(self) -> NDArray[np.int64]:
        """How far behind that it sees, `(kh kw)`."""
        return self._places(self.kernel, self.dilation)

    def _places(self, counts: Pair, apart: Pair) -> NDArray[np.int64]:
        rows, columns = (np.arange(count) * step for count, step in zip(counts, apart, strict=True))
        places: NDArray[np.int64] = rows[:, None] * self.padded[1] + columns
        return places.ravel()

    def inside(self, axis: int, margin: int = 0) -> NDArray[np.bool_]:
        """Return which taps of an axis are in the maps, `(outputs, kernel)`, with a margin."""
        taps = (self.rows, self.columns)[axis]
        inner: NDArray[np.bool_] = (taps >= -margin) & (taps < self.size[axis] + margin)
        return inner

    def around(self, x: NDArray[Any], outside: float = 0) -> NDArray[Any]:
        """Return maps `(B, H, W, C)` with what is outside of them, as far as windows see."""
        (height, width), (top, left) = self.size, self.padding
        if self.padded == self.size:
            return x
        padded = np.full((len(x), *self.padded, x.shape[3]), outside, x.dtype)
        padded[:, top : top + height, left : left + width] = x
        return padded

    def patches(self, x: NDArray[Any], outside: float = 0) -> NDArray[Any]:
        """Return a view of what each window sees, `(B, H', W', kh, kw, C)` of `(B, H, W, C)`."""
        padded = self.around(x, outside)
        image, row, column, channel = padded.strides
        down, right = row * self.stride[0], column * self.stride[1]
        lower, further = row * self.dilation[0], column * self.dilation[1]
        shape = (len(x), *self.outputs, *self.kernel, x.shape[3])
        strides = (image, down, right, lower, further, channel)
        return np.lib.stride_tricks.as_strided(padded, shape, strides, writeable=False)
