"""The loops that numba compiles. They are kept beside this file, or in numba's folder of the user.

Sizes are those of whole programs: a caller has checked all indices.
"""

from typing import Any

import numpy as np
from numba import njit

from bnnlab_runtime.vectors import BLOCK, ROWS, count_row, count_rows

PLANES = 8
"""Bits of a pixel."""


def compiled(*signatures: str) -> Any:
    """Compile for these types, without the interpreter's lock, and keep the result on disk."""
    return njit([*signatures], nogil=True, cache=True, error_model="numpy")


@compiled("void(u8[:,::1], u8[:,:,:,::1], i8[::1], i8[:,::1], i8[::1], i4[:,::1], i4[:,::1])")
def products(x, tiles, starts, offsets, patterns, base, out):
    """Write base - 2 popcount(patch xor weight) of each place, see `BitConv`.

    Args:
        x: Bits, (B, N).
        tiles: The weights of each group, (groups, tiles, K, BLOCK).
        starts: Where the patch of each place begins in an image (P,).
        offsets: Where its words lie behind that, for each group (groups, K).
        patterns: Row of the base for each place (P,).
        base: (patterns, O).
        out: (B P, O).
    """
    places, outputs = len(starts), out.shape[1]
    groups, size = tiles.shape[0], tiles.shape[2]
    own = outputs // groups
    seen = np.empty(ROWS, np.int64)
    patches = np.zeros((ROWS, size), np.uint64)
    counts = np.empty((ROWS, tiles.shape[1] * BLOCK), np.int32)
    for group in range(groups):
        first = group * own
        for start in range(0, len(out), ROWS):
            rows = min(ROWS, len(out) - start)
            for row in range(rows):
                b, place = (start + row) // places, (start + row) % places
                seen[row], begin = patterns[place], starts[place]
                image, patch = x[b], patches[row]
                for k in range(size):
                    patch[k] = image[begin + offsets[group, k]]
            for tile in range(tiles.shape[1]):
                counted = counts[:, tile * BLOCK : (tile + 1) * BLOCK]
                if rows == 1:
                    count_row(patches, tiles[group, tile], counted)
                else:
                    count_rows(patches, tiles[group, tile], counted)
            for row in range(rows):
                full, written, counted = base[seen[row]], out[start + row], counts[row]
                for o in range(own):
                    written[first + o] = full[first + o] - 2 * counted[o]


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
    planes = np.empty((PLANES, words), np.uint64)
    counts = np.empty((PLANES, BLOCK), np.int32)
    for b in range(len(pixels)):
        padded[: pixels.shape[1]] = pixels[b]
        for plane in range(PLANES):
            for k in range(words):
                word = np.uint64(0)
                for j in range(64):
                    word |= np.uint64((padded[64 * k + j] >> plane) & 1) << np.uint64(j)
                planes[plane, k] = word
        for tile in range(len(tiles)):
            for plane in range(0, PLANES, ROWS):
                count_rows(planes[plane:], tiles[tile], counts[plane:])
            begin, end = tile * BLOCK, min((tile + 1) * BLOCK, outputs)
            most, written = positive[begin:end], out[b, begin:end]
            for o in range(end - begin):
                total = np.int32(0)
                for plane in range(PLANES):
                    total += counts[plane, o] << plane
                written[o] = 255 * most[o] - total


@njit
def reaches(x, mask, t, c):
    """Return whether number c of x, turned by the mask if there is one, is at or above t."""
    return x[c] >= t[c] if mask is None else x[c] ^ mask[c] >= t[c]


@njit
def pack(row, mask, t, flip, out):
    """Write the bits of (x xor mask >= t) xor flip: row, mask, t (C,), flip and out (words,)."""
    for k in range(len(out)):
        word, first = np.uint64(0), 64 * k
        if first + 64 <= len(row):
            for j in range(64):
                word |= np.uint64(reaches(row, mask, t, first + j)) << np.uint64(j)
        else:
            for j in range(len(row) - first):
                word |= np.uint64(reaches(row, mask, t, first + j)) << np.uint64(j)
        out[k] = word ^ flip[k]


@compiled(
    "void(i4[:,::1], none, i4[::1], u8[::1], u8[:,::1])",
    "void(i4[:,::1], i4[::1], i4[::1], u8[::1], u8[:,::1])",
)
def thresholds(x, mask, t, flip, out):
    """Write the bits of (x xor mask >= t) xor flip.

    Args:
        x: (N, C).
        mask: (C,), or None for 0.
        t: (C,).
        flip: (words,).
        out: (N, words).
    """
    for n in range(len(x)):
        pack(x[n], mask, t, flip, out[n])


@compiled("void(i4[:,:,::1], i8, i4[::1], u8[:,:,::1])")
def row_thresholds(x, groups, t, out):
    """Write the bits of n x - (sum of the n numbers of its group) >= t.

    Args:
        x: (B, places, C).
        groups: How many groups of channels.
        t: (C,).
        out: (B, places, words).
    """
    batch, places, channels = x.shape
    own = channels // groups
    count = np.int64(np.int32(places * own))  # so that LLVM multiplies numbers of 32 bits
    limits, scaled = np.empty(channels, np.int64), np.empty(channels, np.int64)
    kept = np.zeros(out.shape[2], np.uint64)
    for b in range(batch):
        for group in range(groups):
            first, total = group * own, 0
            for place in range(places):
                part = x[b, place, first : first + own]
                for c in range(own):
                    total += part[c]
            for c in range(own):
                limits[first + c] = total + t[first + c]
        for place in range(places):
            row = x[b, place]
            for c in range(channels):
                scaled[c] = count * row[c]
            pack(scaled, None, limits, kept, out[b, place])


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


@compiled("void(u8[:,::1], f4[:,::1])")
def unpacked(x, out):
    """Write -1 and +1 of bits: x (N, words), out (N, channels)."""
    for n in range(len(x)):
        for k in range(x.shape[1]):
            bits, signs = x[n, k], out[n, 64 * k : 64 * k + 64]
            for j in range(len(signs)):
                signs[j] = np.float32(np.int32(bits >> np.uint64(j) & np.uint64(1)) * 2 - 1)
