"""What was decoded from a folder of images is kept for later processes."""

import hashlib
import os
import time
from collections.abc import Iterable
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


def read_all(stored: ImageFiles, keep: bool) -> Decoded:
    """Return `stored.read_all(keep)`, of an earlier process if the files have not changed since.

    A file has changed if its size or time of change has. Nothing is kept of a folder with a file
    that cannot be read: the reason may be gone the next time.
    """
    key = _key(stored, keep)
    kept = cache.find(key) if key else None
    if kept is not None:
        return _unpacked(kept)
    begun = time.perf_counter()
    found = stored.read_all(keep)
    is_worth = time.perf_counter() - begun >= WORTH and not any(found.faults)
    if is_worth and key and _key(stored, keep) == key:  # nothing was written while it was read
        cache.keep(key, _packed(found))
    return found


def _key(stored: ImageFiles, keep: bool) -> str:
    """Return a digest of all that decoding depends on; empty if a file is out of reach."""
    made = hashlib.sha256()
    decoders = PIL.__version__, version("torchvision")
    place = Path(stored.files[0]).absolute()  # all files are absolute, or none
    made.update(repr((FORM, decoders, stored.shape, stored.exif, keep, place)).encode())
    for file in stored.files:
        try:
            about = os.stat(file)  # noqa: PTH116, a Path takes three times as long
        except OSError:  # why, will be said where it is read
            return ""
        name = os.fsencode(file)
        made.update(b"\0%b\0%d %d" % (name, about.st_size, about.st_mtime_ns))
    return made.hexdigest()


def _packed(found: Decoded) -> cache.Content:
    remarks = {str(row): each for row, each in enumerate(found.remarks) if each}
    digests = _bytes(map(bytes.fromhex, found.digests))
    arrays = {"images": found.images.numpy(), "digests": digests, "shown": _bytes(found.shown)}
    return cache.Content(arrays, remarks)


def _unpacked(kept: cache.Content) -> Decoded:
    arrays, remarks = kept
    digests = [each.tobytes().hex() for each in arrays["digests"]]
    rows = range(len(digests))
    return Decoded(
        torch.from_numpy(arrays["images"]),
        digests,
        [each.tobytes() for each in arrays["shown"]],
        [tuple(remarks.get(str(row), ())) for row in rows],
        [""] * len(digests),
    )


def _bytes(rows: Iterable[bytes]) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return SHA-256 digests as an array of shape (N, 32)."""
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)
