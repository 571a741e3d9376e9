"""Operations that round nothing, on pixels, bits and integer sums, in NumPy: what they mean."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnnlab_runtime.bits import Bits, mismatches, pack, signs, words
from bnnlab_runtime.op import Op
from bnnlab_runtime.values import Step, Value
from bnnlab_runtime.windows import Window

Sums = NDArray[np.int32]


class Permute(Op):
    """Images -> images: pixel i becomes pixel index[i], both in the order C, H, W."""

    def read(self, step: Step) -> None:
        """Tensor index int32 (C H W): each place once."""
        self.output = step.value("uint8", "float32")
        count = self.output.numbers
        self.index = step.tensor("index", ("int32", (count,)))
        if not np.array_equal(np.sort(self.index), np.arange(count)):
            step.refuse(f"its 'index' must have each number from 0 to {count - 1} once")

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map `(B, C, H, W)` or `(B, F)` to the same shape."""
        return x.reshape(len(x), -1)[:, self.index].reshape(x.shape)


class PlaneLinear(Op):
    """Images of uint8 -> sums: their pixels, in the order C, H, W, times signs.

    A pixel is the sum over j of 2^j (bit j of it), and sum of bit times sign is popcount(w)
    - popcount(bits xor w).
    """

    def read(self, step: Step) -> None:
        """Weight uint64 (words, O)."""
        pixels = step.value("uint8")
        self.weight = step.tensor("weight", ("uint64", (words(pixels.numbers), None)))
        step.unpadded(self.weight[-1], pixels.numbers)
        if pixels.numbers * 255 >= 1 << 31:
            step.refuse(f"the sums of {pixels.numbers} pixels may not fit into int32")
        self.output = Value("sums", self.weight.shape[1:])
        self.word_operations = 8 * self.weight.size

    def prepare(self) -> None:
        """Count the weights that are +1."""
        self.positive = np.bitwise_count(self.weight).sum(0, dtype=np.int32)

    def __call__(self, x: NDArray[np.uint8]) -> Sums:
        """Map `(B, ...)` to `(B, O)`."""
        flat = x.reshape(len(x), -1)
        sums = np.tile(255 * self.positive, (len(x), 1))
        for bit in range(8):
            sums -= mismatches(pack((flat >> bit & 1) == 1), self.weight) << bit
        return sums


class BitLinear(Op):
    """Bits -> sums: inputs - 2 popcount(x xor w)."""

    def read(self, step: Step) -> None:
        """Weight uint64 (words, O)."""
        bits = step.value("bits", maps=False)
        (self.inputs,) = bits.signs
        self.weight = step.tensor("weight", ("uint64", (bits.shape[0], None)))
        each = words(bits.channels)
        step.unpadded(self.weight[each - 1 :: each], bits.channels)
        self.output = Value("sums", self.weight.shape[1:])
        self.word_operations = self.weight.size

    def __call__(self, x: Bits) -> Sums:
        """Map `(B, words)` to `(B, O)`."""
        return self.inputs - 2 * mismatches(x, self.weight)


class BitConv(Op):
    """Bits -> sums: of a convolution whose border is padded with zeros.

    A bit cannot be 0. So words outside are 0, which counts popcount(w) mismatches too many; `base`
    has them: sum = base - 2 mismatches.
    """

    def read(self, step: Step) -> None:
        """Weight uint64 (kh kw words(C / groups), O); groups of whole words."""
        bits = step.value("bits", maps=True)
        self.groups = step.whole("groups", 1)
        self.channels, rest = divmod(bits.channels, self.groups)
        if rest or (self.groups > 1 and self.channels % 64):
            step.refuse(f"{bits.channels} channels are no {self.groups} groups of whole words")
        self.window = Window.read(step, bits.shape)
        kh, kw = self.window.kernel
        each = words(self.channels)
        self.weight = step.tensor("weight", ("uint64", (kh * kw * each, None)))
        step.unpadded(self.weight[each - 1 :: each], self.channels)
        outputs = self.weight.shape[1]
        if outputs % self.groups:
            step.refuse(f"{outputs} outputs are no {self.groups} equal groups")
        self.output = Value("sums", (*self.window.outputs, outputs))
        self.gathered = self.output.numbers // outputs * len(self.weight) * self.groups
        self.word_operations = self.output.numbers * len(self.weight)

    def prepare(self) -> None:
        """Make the base, `(patterns of rows, patterns of columns, O)`: few windows are cut."""
        rows, self.row_pattern = _patterns(self.window.inside(0))
        columns, self.column_pattern = _patterns(self.window.inside(1))
        inside = rows[:, None, :, None] & columns[None, :, None, :]
        by_tap = self.weight.reshape(*self.window.kernel, -1, self.weight.shape[1])
        ones = np.bitwise_count(by_tap).sum(2, dtype=np.int32)
        products = inside.sum((2, 3), dtype=np.int32) * np.int32(self.channels)
        cut = np.tensordot((~inside).astype(np.int32), ones, 2)
        self.base = np.ascontiguousarray(products[..., None] + 2 * cut, np.int32)

    def __call__(self, x: Bits) -> Sums:
        """Map `(B, H, W, words)` to `(B, H', W', O)`."""
        patches = self.window.patches(x)
        grouped = np.split(patches, self.groups, -1)
        weights = np.split(self.weight, self.groups, 1)
        counts = [
            mismatches(each.reshape(-1, len(weight)), weight)
            for each, weight in zip(grouped, weights, strict=True)
        ]
        base = self.base[self.row_pattern[:, None], self.column_pattern]
        return base - 2 * np.concatenate(counts, 1).reshape(len(x), *base.shape)


class Threshold(Op):
    """Sums or real -> bits: (x >= t) xor flip, for each channel; real -0 is below +0."""

    def read(self, step: Step) -> None:
        """Tensor t (C,), int32 for sums and float32 for real; flip uint64 (words,)."""
        x = step.value("sums", "real")
        channels = x.shape[-1]
        self.output = Value.bits(x.shape)
        dtype = "int32" if x.kind == "sums" else "float32"
        self.t = step.tensor("t", (dtype, (channels,)))
        self.flip = step.tensor("flip", ("uint64", (words(channels),)))
        step.unpadded(self.flip[-1:], channels)

    def prepare(self) -> None:
        """Turn a comparison of real numbers into one of whole numbers: x xor mask >= limits.

        The bits of float32 numbers, as int32, have the order of the numbers where these are not
        negative. Where t is negative, all bits but the first are turned.
        """
        t = self.t.view(np.int32)
        self.mask = t >> 31 & 0x7FFFFFFF if self.t.dtype == np.float32 else None
        self.limits = t if self.mask is None else t ^ self.mask

    def __call__(self, x: NDArray[Any]) -> Bits:
        """Map `(B, ..., C)` to `(B, ..., words)`."""
        bits = x if self.mask is None else x.view(np.int32) ^ self.mask
        return pack(bits >= self.limits) ^ self.flip


class RowThreshold(Op):
    """Sums -> bits: n x - (sum of the n numbers of its group) >= t; without t, x >= the mean.

    A group has its channels' maps.
    """

    def read(self, step: Step) -> None:
        """Parameter groups; tensor t int32 (C,), or none."""
        sums = step.value("sums")
        t = step.tensor_or_none("t", ("int32", sums.shape[-1:]))
        self.t = np.zeros(sums.shape[-1], np.int32) if t is None else t
        self.groups = step.whole("groups", 1)
        if sums.shape[-1] % self.groups:
            step.refuse(f"{sums.shape[-1]} channels are no {self.groups} equal groups")
        self.output = Value.bits(sums.shape)

    def __call__(self, x: Sums) -> Bits:
        """Map `(B, ..., C)` to `(B, ..., words)`."""
        grouped = x.reshape(len(x), -1, self.groups, x.shape[-1] // self.groups).astype(np.int64)
        count = grouped.shape[1] * grouped.shape[3]
        above = count * grouped - grouped.sum((1, 3), keepdims=True)
        return pack(above.reshape(x.shape) >= self.t)


class OrPool(Op):
    """Bits -> bits: the maximum in each window; the minimum where `flip` is 1."""

    def read(self, step: Step) -> None:
        """Tensor flip uint64 (words,)."""
        bits = step.value("bits", maps=True)
        self.window = Window.read_pool(step, bits.shape)
        self.flip = step.tensor("flip", ("uint64", (bits.shape[-1],)))
        step.unpadded(self.flip[-1:], bits.channels)
        self.output = Value("bits", (*self.window.outputs, bits.shape[-1]), bits.channels)
        self.gathered = self.output.numbers * self.window.kernel[0] * self.window.kernel[1]

    def __call__(self, x: Bits) -> Bits:
        """Map `(B, H, W, words)` to `(B, H', W', words)`."""
        found: Bits = np.bitwise_or.reduce(self.window.patches(x ^ self.flip), (3, 4))
        return found ^ self.flip


class Sign(Op):
    """Real -> bits: +1 where the sign bit of x is 0, so at +0 and not at -0."""

    def read(self, step: Step) -> None:
        """Nothing."""
        self.output = Value.bits(step.value("real").shape)

    def __call__(self, x: NDArray[np.float32]) -> Bits:
        """Map `(B, ..., C)` to `(B, ..., words)`."""
        return pack(~np.signbit(x))


class Unpack(Op):
    """Bits -> real: -1 and +1."""

    def read(self, step: Step) -> None:
        """Nothing."""
        bits = step.value("bits")
        self.channels, self.words = bits.channels, words(bits.channels)
        self.output = Value("real", bits.signs)

    def __call__(self, x: Bits) -> NDArray[np.float32]:
        """Map `(B, ..., words)` to `(B, ..., C)`."""
        cells = x.reshape(len(x), -1, self.words)
        return signs(cells, self.channels).reshape(len(x), *self.output.shape)


def _patterns(inside: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the different rows of `inside`, and which of them each is."""
    patterns, numbers = np.unique(inside, axis=0, return_inverse=True)
    return patterns, numbers.reshape(-1)
