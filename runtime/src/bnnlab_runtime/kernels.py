"""The loops that numba compiles. They are kept beside this file, or in numba's folder of the user.

Sizes are those of whole programs: a caller has checked all indices.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

ROWS = 4
"""So many rows of inputs share each word of weights that is read."""


def _popcount(_context: Any, _word: Any) -> Any:
    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


popcount: Any = intrinsic(_popcount)
"""Counts the bits of a word: the instruction of the processor, of vectors where it has one."""


def compiled(*signatures: str) -> Any:
    """Compile for these types, without the interpreter's lock, and keep the result on disk."""
    return njit([*signatures], nogil=True, cache=True, error_model="numpy")


@compiled(
    "void(u8[:,:,:,::1], u8[:,::1], i8[:,::1], i8[:,::1], i8[::1], i8[::1], i4[:,:,::1], i8,"
    " i4[:,:,:,::1])"
)
def products(x, weight, rows, columns, row_pattern, column_pattern, base, groups, out):
    """Write base - 2 popcount(patch xor weight) of each place, see `BitConv`.

    Args:
        x: Bits, (B, H, W, words).
        weight: (kh kw words / groups, O).
        rows: Of each window (H', kh).
        columns: Of each window (W', kw).
        row_pattern: Row of the base for each window (H',).
        column_pattern: Column of the base for each window (W',).
        base: (patterns of rows, patterns of columns, O).
        groups: How many groups of channels.
        out: (B, H', W', O).
    """
    batch, height, width, outputs = out.shape
    size, own = weight.shape[0], outputs // groups
    words = x.shape[3] // groups
    patch = np.zeros((ROWS, size), np.uint64)
    count = np.empty((ROWS, own), np.uint64)
    p0, p1, p2, p3 = patch[0], patch[1], patch[2], patch[3]
    c0, c1, c2, c3 = count[0], count[1], count[2], count[3]
    places = batch * height * width
    for group in range(groups):
        first = group * own
        for start in range(0, places, ROWS):
            several = min(ROWS, places - start)
            for r in range(several):
                line, j = (start + r) // width, (start + r) % width
                b, i = line // height, line % height
                k = 0
                for a in range(rows.shape[1]):
                    for c in range(columns.shape[1]):
                        y, z = rows[i, a], columns[j, c]
                        if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                            for w in range(words):
                                patch[r, k + w] = x[b, y, z, group * words + w]
                        else:
                            for w in range(words):
                                patch[r, k + w] = 0
                        k += words
            for r in range(several):
                for o in range(own):
                    count[r, o] = 0
            if several == 1:
                for k in range(size):
                    x0, row = p0[k], weight[k, first : first + own]
                    for o in range(own):
                        c0[o] += popcount(x0 ^ row[o])
            else:
                for k in range(size):
                    x0, x1, x2, x3 = p0[k], p1[k], p2[k], p3[k]
                    row = weight[k, first : first + own]
                    for o in range(own):
                        v = row[o]
                        c0[o] += popcount(x0 ^ v)
                        c1[o] += popcount(x1 ^ v)
                        c2[o] += popcount(x2 ^ v)
                        c3[o] += popcount(x3 ^ v)
            for r in range(several):
                line, j = (start + r) // width, (start + r) % width
                b, i = line // height, line % height
                full = base[row_pattern[i], column_pattern[j]]
                written, counted = out[b, i, j], count[r]
                for o in range(own):
                    written[first + o] = full[first + o] - np.int32(2 * counted[o])


@compiled("void(u1[:,::1], u8[:,::1], i4[::1], i4[:,::1])")
def plane_products(pixels, weight, positive, out):
    """Write the sums of pixels times signs, see `PlaneLinear`.

    Args:
        pixels: (B, F).
        weight: (words, O).
        positive: How many weights of each output are +1, (O,).
        out: (B, O).
    """
    words, outputs = weight.shape
    padded = np.zeros(words * 64, np.uint8)
    planes = np.empty(8, np.uint64)
    count = np.empty(outputs, np.uint64)
    for b in range(len(pixels)):
        for f in range(pixels.shape[1]):
            padded[f] = pixels[b, f]
        for o in range(outputs):
            count[o] = 0
        for k in range(words):
            for bit in range(8):
                word = np.uint64(0)
                for j in range(64):
                    word |= np.uint64((padded[64 * k + j] >> bit) & 1) << np.uint64(j)
                planes[bit] = word
            a0, a1, a2, a3 = planes[0], planes[1], planes[2], planes[3]
            a4, a5, a6, a7 = planes[4], planes[5], planes[6], planes[7]
            row = weight[k]
            for o in range(outputs):
                v = row[o]
                low = (popcount(a0 ^ v) + (popcount(a1 ^ v) << np.uint64(1))) + (
                    (popcount(a2 ^ v) << np.uint64(2)) + (popcount(a3 ^ v) << np.uint64(3))
                )
                high = (popcount(a4 ^ v) + (popcount(a5 ^ v) << np.uint64(1))) + (
                    (popcount(a6 ^ v) << np.uint64(2)) + (popcount(a7 ^ v) << np.uint64(3))
                )
                count[o] += low + (high << np.uint64(4))
        for o in range(outputs):
            out[b, o] = 255 * positive[o] - np.int32(count[o])


@compiled(
    "void(i4[:,::1], i4[::1], u8[::1], u8[:,::1])", "void(f4[:,::1], f4[::1], u8[::1], u8[:,::1])"
)
def thresholds(x, t, flip, out):
    """Write the bits of (x >= t) xor flip: x (N, C), t (C,), flip (words,), out (N, words)."""
    channels = x.shape[1]
    for n in range(len(x)):
        row = x[n]
        for k in range(len(flip)):
            word, first = np.uint64(0), 64 * k
            if first + 64 <= channels:
                for j in range(64):
                    word |= np.uint64(row[first + j] >= t[first + j]) << np.uint64(j)
            else:
                for j in range(channels - first):
                    word |= np.uint64(row[first + j] >= t[first + j]) << np.uint64(j)
            out[n, k] = word ^ flip[k]


@compiled("void(i4[:,:,::1], i8, i4[::1], i4[:,::1])")
def row_limits(x, groups, t, out):
    """Write the least whole number x with n x - (sum of the n numbers of its group) >= t.

    Args:
        x: (B, places, C).
        groups: How many groups of channels.
        t: (C,).
        out: (B, C).
    """
    batch, places, channels = x.shape
    own = channels // groups
    for b in range(batch):
        for group in range(groups):
            first, total = group * own, 0
            for place in range(places):
                for c in range(first, first + own):
                    total += x[b, place, c]
            for c in range(first, first + own):
                limit = -((-total - t[c]) // (own * places))
                out[b, c] = np.int32(min(max(limit, -(1 << 31)), (1 << 31) - 1))


@compiled("void(u8[:,:,:,::1], i8[:,::1], i8[:,::1], u8[::1], u8[:,:,:,::1])")
def pool(x, rows, columns, flip, out):
    """Write the OR of each window's bits, of turned bits where `flip` is 1.

    Args:
        x: (B, H, W, words).
        rows: Of each window (H', kh).
        columns: Of each window (W', kw).
        flip: (words,).
        out: (B, H', W', words).
    """
    batch, height, width, words = out.shape
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                found = out[b, i, j]
                for k in range(words):
                    found[k] = 0
                for a in range(rows.shape[1]):
                    for c in range(columns.shape[1]):
                        y, z = rows[i, a], columns[j, c]
                        if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                            for k in range(words):
                                found[k] |= x[b, y, z, k] ^ flip[k]
                for k in range(words):
                    found[k] ^= flip[k]


@compiled(
    "void(i4[:,::1], f4[::1], f4[::1], f4[:,::1])", "void(f4[:,::1], f4[::1], f4[::1], f4[:,::1])"
)
def affine(x, a, b, out):
    """Write x a + b, for each channel: x and out (N, C), a and b (C,)."""
    for n in range(len(x)):
        for c in range(x.shape[1]):
            out[n, c] = np.float32(x[n, c]) * a[c] + b[c]


@compiled("void(u8[:,::1], i8, f4[:,::1])")
def unpacked(x, channels, out):
    """Write -1 and +1 of bits: x (N, words), out (N, channels)."""
    for n in range(len(x)):
        for c in range(channels):
            bit = (x[n, c >> 6] >> np.uint64(c & 63)) & np.uint64(1)
            out[n, c] = np.float32(np.int64(bit) * 2 - 1)
