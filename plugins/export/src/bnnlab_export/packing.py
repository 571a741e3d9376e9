"""Signs as bits, 64 in a word."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[np.generic]


def pack(signs: Tensor) -> NDArray[np.uint64]:
    """Pack the last dimension: bit j of word i is 1 where number 64 i + j is above 0.

    Args:
        signs: `(..., n)`, -1 and +1; or bool.

    Returns:
        `(..., ceil(n / 64))`; the bits above n are 0.
    """
    bits = (signs > 0).numpy()
    padded = np.zeros((*bits.shape[:-1], -(-bits.shape[-1] // 64) * 64), dtype=bool)
    padded[..., : bits.shape[-1]] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view("<u8")
