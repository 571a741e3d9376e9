"""Operations as numba computes them: those of the reference, with compiled loops."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnnlab_runtime import bit_ops, kernels, real_ops
from bnnlab_runtime.bits import Bits, words
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
        own = words(self.channels)
        cell = own * self.groups
        starts = self.window.starts * cell
        taps = (self.window.taps[:, None] * cell + np.arange(own)).ravel()
        offsets = np.arange(self.groups)[:, None] * own + taps
        patterns = self.row_pattern[:, None] * self.base.shape[1] + self.column_pattern
        base = self.base.reshape(-1, self.base.shape[2])
        self.given = (_tiles(self.weight, self.groups), starts, offsets, patterns.ravel(), base)

    def __call__(self, x: Bits) -> Sums:
        """Map `(B, H, W, words)` to `(B, H', W', O)`."""
        out = np.empty((len(x), *self.output.shape), np.int32)
        flat = self.window.around(x).reshape(len(x), -1)
        kernels.products(flat, *self.given, out.reshape(-1, out.shape[-1]))
        return out


class BitLinear(bit_ops.BitLinear):
    """As in the reference: a convolution of maps of one place."""

    def prepare(self) -> None:
        """Make all that the kernel takes."""
        first, offsets = np.zeros(1, np.int64), np.arange(len(self.weight))[None]
        base = np.full((1, self.weight.shape[1]), self.inputs, np.int32)
        self.given = (_tiles(self.weight, 1), first, offsets, first, base)

    def __call__(self, x: Bits) -> Sums:
        """Map `(B, words)` to `(B, O)`."""
        out = np.empty((len(x), *self.output.shape), np.int32)
        kernels.products(x, *self.given, out)
        return out


class Threshold(bit_ops.Threshold):
    """As in the reference."""

    def __call__(self, x: NDArray[Any]) -> Bits:
        """Map `(B, ..., C)` to `(B, ..., words)`."""
        numbers = x if self.mask is None else x.view(np.int32)
        return _thresholds(numbers, self.mask, self.limits, self.flip)


class Sign(bit_ops.Sign):
    """As in the reference: thresholds of 0."""

    def prepare(self) -> None:
        """Make the thresholds."""
        self.limits = np.zeros(self.output.channels, np.int32)
        self.flip = np.zeros(self.output.shape[-1], np.uint64)

    def __call__(self, x: Real) -> Bits:
        """Map `(B, ..., C)` to `(B, ..., words)`."""
        return _thresholds(x.view(np.int32), None, self.limits, self.flip)


class RowThreshold(bit_ops.RowThreshold):
    """As in the reference."""

    def __call__(self, x: Sums) -> Bits:
        """Map `(B, ..., C)` to `(B, ..., words)`."""
        out = np.empty((len(x), *self.output.shape), np.uint64)
        places, bits = (each.reshape(len(x), -1, each.shape[-1]) for each in (x, out))
        kernels.row_thresholds(places, self.groups, self.t, bits)
        return out


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
        kernels.unpacked(cells, out.reshape(-1, self.channels))
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
    channels = len(limits)
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
