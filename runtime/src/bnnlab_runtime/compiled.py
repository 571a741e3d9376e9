"""Operations as numba computes them: those of the reference, with compiled loops."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnnlab_runtime import bit_ops, kernels, real_ops
from bnnlab_runtime.bits import Bits
from bnnlab_runtime.op import Op
from bnnlab_runtime.vectors import BLOCK

Sums = NDArray[np.int32]
Real = NDArray[np.float32]


class PlaneLinear(bit_ops.PlaneLinear):
    """As in the reference."""

    def prepare(self) -> None:
        """Make all that the kernel takes."""
        super().prepare()
        (self.tiles,) = _tiles(self.weight, 1)

    def __call__(self, x: NDArray[np.uint8]) -> Sums:
        """Map `(B, ...)` to `(B, O)`."""
        out = np.empty((len(x), *self.output.shape), np.int32)
        kernels.plane_products(x.reshape(len(x), -1), self.tiles, self.positive, out)
        return out


class BitConv(bit_ops.BitConv):
    """As in the reference."""

    def prepare(self) -> None:
        """Make all that the kernel takes."""
        super().prepare()
        window, tiles = self.window, _tiles(self.weight, self.groups)
        patterns = (self.row_pattern, self.column_pattern)
        self.given = (tiles, window.rows, window.columns, *patterns, self.base)

    def __call__(self, x: Bits) -> Sums:
        """Map `(B, H, W, words)` to `(B, H', W', O)`."""
        out = np.empty((len(x), *self.output.shape), np.int32)
        kernels.products(x, *self.given, out)
        return out


class BitLinear(bit_ops.BitLinear):
    """As in the reference: a convolution of maps of one place."""

    def prepare(self) -> None:
        """Make all that the kernel takes."""
        one = np.zeros((1, 1), np.int64)
        base = np.full((1, 1, self.weight.shape[1]), self.inputs, np.int32)
        self.given = (_tiles(self.weight, 1), one, one, one[0], one[0], base)

    def __call__(self, x: Bits) -> Sums:
        """Map `(B, words)` to `(B, O)`."""
        out = np.empty((len(x), *self.output.shape), np.int32)
        kernels.products(x[:, None, None], *self.given, out[:, None, None])
        return out


class Threshold(bit_ops.Threshold):
    """As in the reference."""

    def prepare(self) -> None:
        """Make the limits as the kernel takes them."""
        super().prepare()
        self.limits = self.limits[None]

    def __call__(self, x: NDArray[Any]) -> Bits:
        """Map `(B, ..., C)` to `(B, ..., words)`."""
        numbers = x if self.mask is None else x.view(np.int32)
        return _thresholds(numbers, self.mask, self.limits, self.flip)


class Sign(bit_ops.Sign):
    """As in the reference: thresholds of 0 for the bits as whole numbers."""

    def prepare(self) -> None:
        """Make the thresholds."""
        self.limits = np.zeros((1, self.output.signs[-1]), np.int32)
        self.flip = np.zeros(self.output.shape[-1], np.uint64)

    def __call__(self, x: Real) -> Bits:
        """Map `(B, ..., C)` to `(B, ..., words)`."""
        return _thresholds(x.view(np.int32), None, self.limits, self.flip)


class RowThreshold(bit_ops.RowThreshold):
    """As in the reference: thresholds for each image."""

    def prepare(self) -> None:
        """Make what flips nothing."""
        self.flip = np.zeros(self.output.shape[-1], np.uint64)

    def __call__(self, x: Sums) -> Bits:
        """Map `(B, ..., C)` to `(B, ..., words)`."""
        limits = np.empty((len(x), x.shape[-1]), np.int32)
        kernels.row_limits(x.reshape(len(x), -1, x.shape[-1]), self.groups, self.t, limits)
        return _thresholds(x, None, limits, self.flip)


class OrPool(bit_ops.OrPool):
    """As in the reference."""

    def prepare(self) -> None:
        """Make all that the kernel takes."""
        self.indices = (self.window.rows, self.window.columns)

    def __call__(self, x: Bits) -> Bits:
        """Map `(B, H, W, words)` to `(B, H', W', words)`."""
        out = np.empty((len(x), *self.output.shape), np.uint64)
        kernels.pool(x, *self.indices, self.flip, out)
        return out


class Affine(real_ops.Affine):
    """As in the reference."""

    def prepare(self) -> None:
        """Make the shift where there is none: -0 changes no number, and not the sign of -0."""
        self.shift = np.full_like(self.a, -0.0) if self.b is None else self.b

    def __call__(self, x: NDArray[Any]) -> Real:
        """Map `(B, ..., C)` to the same shape."""
        out = np.empty(x.shape, np.float32)
        channels = x.shape[-1]
        kernels.affine(x.reshape(-1, channels), self.a, self.shift, out.reshape(-1, channels))
        return out


class Unpack(bit_ops.Unpack):
    """As in the reference."""

    def __call__(self, x: Bits) -> Real:
        """Map `(B, ..., words)` to `(B, ..., C)`."""
        out = np.empty((len(x), *self.output.shape), np.float32)
        cells = x.reshape(-1, self.words)
        kernels.unpacked(cells, self.channels, out.reshape(-1, self.channels))
        return out


def _tiles(weight: Bits, groups: int) -> Bits:
    """Return weights `(K, O)` as `(groups, tiles, K, BLOCK)`: what a block reads lies together."""
    size, outputs = len(weight), weight.shape[1] // groups
    tiles = -(-outputs // BLOCK)
    padded = np.zeros((size, groups, tiles * BLOCK), np.uint64)
    padded[..., :outputs] = weight.reshape(size, groups, outputs)
    by_tile = padded.reshape(size, groups, tiles, BLOCK).transpose(1, 2, 0, 3)
    return np.ascontiguousarray(by_tile)


def _thresholds(x: Sums, mask: Sums | None, limits: Sums, flip: Bits) -> Bits:
    out = np.empty((*x.shape[:-1], len(flip)), np.uint64)
    channels = x.shape[-1]
    kernels.thresholds(x.reshape(-1, channels), mask, limits, flip, out.reshape(-1, len(flip)))
    return out


COMPILED: dict[str, type[Op]] = {
    "affine": Affine,
    "bit_conv": BitConv,
    "bit_linear": BitLinear,
    "or_pool": OrPool,
    "plane_linear": PlaneLinear,
    "row_threshold": RowThreshold,
    "sign": Sign,
    "threshold": Threshold,
    "unpack": Unpack,
}
"""The operations that it computes; the reference computes all others."""
