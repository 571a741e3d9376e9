"""What was decoded from a folder of images is kept for later processes."""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from bnnlab.storage import cache
from bnnlab_vision.reading import Decoded, ImageFiles

WORTH = 1.0
"""Seconds of decoding from which it is kept: less is not worth a file."""
FORM = 1
"""Version of what is kept. Another one for another way to decode."""


def state_of(files: Sequence[str]) -> bytes:
    """Return the names, sizes and times of change of files: another state if one has changed."""
    return b"".join(map(_state, files))


def _state(file: str) -> bytes:
    try:
        about = os.stat(file)  # noqa: PTH116, a Path takes three times as long
    except OSError:  # why, will be said where it is read
        return b"\0%b" % os.fsencode(file)
    return b"\0%b\0%d %d" % (os.fsencode(file), about.st_size, about.st_mtime_ns)


def read_all(stored: ImageFiles, state: bytes, keep: bool) -> Decoded:
    """Return `stored.read_all(keep)`, of an earlier process if the files have not changed since.

    Nothing is kept of a folder with a file that cannot be read: the reason may be gone the next
    time.

    Args:
        stored: The images.
        state: Of their files.
        keep: Whether the images are returned, too.
    """
    key = _key(stored, state, keep)
    kept = cache.find(key)
    if kept is not None:
        return _unpacked(kept)
    begun = time.perf_counter()
    found = stored.read_all(keep)
    is_worth = time.perf_counter() - begun >= WORTH and not any(found.faults)
    if is_worth and state_of(stored.files) == state:  # nothing was written while it was read
        cache.keep(key, _packed(found))
    return found


def _key(stored: ImageFiles, state: bytes, keep: bool) -> str:
    """Return a digest of all that decoding depends on."""
    decoders = PIL.__version__, version("torchvision")
    place = Path(stored.files[0]).absolute()  # all files are absolute, or none
    said = repr((FORM, decoders, stored.shape, stored.exif, keep, place)).encode()
    return hashlib.sha256(said + state).hexdigest()


def _packed(found: Decoded) -> cache.Content:
    remarks = {str(row): each for row, each in enumerate(found.remarks) if each}
    digests = _bytes(map(bytes.fromhex, found.digests))
    arrays = {"images": found.images.numpy(), "digests": digests, "shown": _bytes(found.shown)}
    return cache.Content(arrays, remarks)


def _unpacked(kept: cache.Content) -> Decoded:
    arrays, remarks = kept
    digests = [each.hex() for each in _rows(arrays["digests"])]
    said: list[tuple[str, ...]] = [()] * len(digests)
    for row, each in remarks.items():
        said[int(row)] = tuple(each)
    shown = _rows(arrays["shown"])
    return Decoded(torch.from_numpy(arrays["images"]), digests, shown, said, [""] * len(digests))


def _rows(array: "np.ndarray[Any, np.dtype[np.uint8]]") -> list[bytes]:
    """Return the rows of what `_bytes` made; one by one, NumPy takes ten times as long."""
    whole, size = array.tobytes(), array.shape[1]
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _bytes(rows: Iterable[bytes]) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return SHA-256 digests as an array of shape (N, 32)."""
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)
