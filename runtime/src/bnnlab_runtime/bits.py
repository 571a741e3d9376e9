"""Signs as bits: 64 channels in a word, bit j of word i is channel 64 i + j, 1 for +1."""

import numpy as np
from numpy.typing import NDArray

WORD = 64
Bits = NDArray[np.uint64]


def words(channels: int) -> int:
    """Return the number of words that hold this many channels."""
    return -(-channels // WORD)


def pack(positive: NDArray[np.bool_]) -> Bits:
    """Pack `(..., channels)` into `(..., words)`; the bits above the last channel are 0."""
    channels = positive.shape[-1]
    padded = np.zeros((*positive.shape[:-1], words(channels) * WORD), bool)
    padded[..., :channels] = positive
    return np.packbits(padded, axis=-1, bitorder="little").view(np.uint64)


def unpack(bits: Bits, channels: int) -> NDArray[np.bool_]:
    """Return what `pack` packed: `(..., channels)` of `(..., words)`."""
    bytes_ = np.ascontiguousarray(bits).view(np.uint8)
    return np.unpackbits(bytes_, axis=-1, count=channels, bitorder="little").view(bool)


def signs(bits: Bits, channels: int) -> NDArray[np.float32]:
    """Return -1 and +1, `(..., channels)` of `(..., words)`."""
    return unpack(bits, channels) * np.float32(2) - np.float32(1)


def mismatches(x: Bits, weight: Bits) -> NDArray[np.int32]:
    """Return popcount(x xor w), `(N, O)` of `(N, words)` and `(words, O)`."""
    total = np.zeros((len(x), weight.shape[1]), np.int32)
    for column, row in zip(x.T, weight, strict=True):
        total += np.bitwise_count(column[:, None] ^ row)
    return total
