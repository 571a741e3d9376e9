"""The loops that numba compiles. They are kept beside this file, or in numba's folder of the user.

Sizes are those of whole programs: a caller has checked all indices.
"""

from typing import Any

import numpy as np
from numba import njit

from bnnlab_runtime.vectors import BLOCK, ROWS, count_block


def compiled(*signatures: str) -> Any:
    """Compile for these types, without the interpreter's lock, and keep the result on disk."""
    return njit([*signatures], nogil=True, cache=True, error_model="numpy")


@njit
def mismatches(x, tiles, count):
    """Write popcount(x xor weight): x (ROWS, K), tiles (T, K, BLOCK), count (ROWS, T BLOCK)."""
    for tile in range(len(tiles)):
        count_block(x, tiles[tile], count, tile * BLOCK)


@compiled(
    "void(u8[:,:,:,::1], u8[:,:,:,::1], i8[:,::1], i8[:,::1], i8[::1], i8[::1], i4[:,:,::1],"
    " i4[:,:,:,::1])"
)
def products(x, tiles, rows, columns, row_pattern, column_pattern, base, out):
    """Write base - 2 popcount(patch xor weight) of each place, see `BitConv`.

    Args:
        x: Bits, (B, H, W, words).
        tiles: The weights of each group, (groups, tiles, kh kw words / groups, BLOCK).
        rows: Of each window (H', kh).
        columns: Of each window (W', kw).
        row_pattern: Row of the base for each window (H',).
        column_pattern: Column of the base for each window (W',).
        base: (patterns of rows, patterns of columns, O).
        out: (B, H', W', O).
    """
    batch, height, width, outputs = out.shape
    groups, size = tiles.shape[0], tiles.shape[2]
    own, words = outputs // groups, x.shape[3] // groups
    patch = np.zeros((ROWS, size), np.uint64)
    count = np.empty((ROWS, tiles.shape[1] * BLOCK), np.uint64)
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
            mismatches(patch, tiles[group], count)
            for r in range(several):
                line, j = (start + r) // width, (start + r) % width
                b, i = line // height, line % height
                full = base[row_pattern[i], column_pattern[j]]
                written, counted = out[b, i, j], count[r]
                for o in range(own):
                    written[first + o] = full[first + o] - np.int32(2 * counted[o])


@compiled("void(u1[:,::1], u8[:,:,::1], i4[::1], i4[:,::1])")
def plane_products(pixels, tiles, positive, out):
    """Write the sums of pixels times signs, see `PlaneLinear`.

    Args:
        pixels: (B, F).
        tiles: The weights, (tiles, words, BLOCK).
        positive: How many weights of each output are +1, (O,).
        out: (B, O).
    """
    words, outputs = tiles.shape[1], len(positive)
    padded = np.zeros(words * 64, np.uint8)
    planes = np.empty((ROWS, words), np.uint64)
    count = np.empty((ROWS, len(tiles) * BLOCK), np.uint64)
    for b in range(len(pixels)):
        for f in range(pixels.shape[1]):
            padded[f] = pixels[b, f]
        for o in range(outputs):
            out[b, o] = 255 * positive[o]
        for low in range(0, 8, ROWS):
            for r in range(ROWS):
                for k in range(words):
                    word = np.uint64(0)
                    for j in range(64):
                        word |= np.uint64((padded[64 * k + j] >> (low + r)) & 1) << np.uint64(j)
                    planes[r, k] = word
            mismatches(planes, tiles, count)
            for r in range(ROWS):
                for o in range(outputs):
                    out[b, o] -= np.int32(count[r, o]) << (low + r)


@njit
def reaches(x, mask, t, c):
    """Return whether number c of x, turned by the mask if there is one, is at or above t."""
    return x[c] >= t[c] if mask is None else x[c] ^ mask[c] >= t[c]


@compiled(
    "void(i4[:,::1], none, i4[:,::1], u8[::1], u8[:,::1])",
    "void(i4[:,::1], i4[::1], i4[:,::1], u8[::1], u8[:,::1])",
)
def thresholds(x, mask, limits, flip, out):
    """Write the bits of (x xor mask >= t) xor flip.

    Args:
        x: (N, C).
        mask: (C,), or None for 0.
        limits: The t of each channel, (T, C): each row is for N / T rows of x.
        flip: (words,).
        out: (N, words).
    """
    per = len(x) // len(limits)
    channels = x.shape[1]
    for n in range(len(x)):
        row, t = x[n], limits[n // per]
        for k in range(len(flip)):
            word, first = np.uint64(0), 64 * k
            if first + 64 <= channels:
                for j in range(64):
                    word |= np.uint64(reaches(row, mask, t, first + j)) << np.uint64(j)
            else:
                for j in range(channels - first):
                    word |= np.uint64(reaches(row, mask, t, first + j)) << np.uint64(j)
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
                part = x[b, place, first : first + own]
                for c in range(own):
                    total += part[c]
            mean, limits = -((-total) // (own * places)), out[b, first : first + own]
            for c in range(own):
                limits[c] = np.int32(mean)
            for c in range(own):
                if t[first + c] != 0:
                    limit = -((-total - t[first + c]) // (own * places))
                    limits[c] = np.int32(min(max(limit, -(1 << 31)), (1 << 31) - 1))


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
