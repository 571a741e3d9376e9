"""Decode images from their files, in worker processes and ahead of their use."""

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bnnlab.errors import DataError, explain
from bnnlab.interfaces.examples import LOOKED_UP_TOGETHER, StoredImages
from bnnlab_vision.decoding import Picture, decode

GUARD = (
    "Each of them imports the script that starts it: put the script's work below "
    '`if __name__ == "__main__":`, or read without them (workers=0).'
)
"""What to do if `spawn` or `forkserver` starts processes and the script has no main guard."""


class Decoded(NamedTuple):
    """The images of B files.

    Attributes:
        images: uint8 of shape (B, C, S, S); 0 for unreadable files.
        digests: SHA-256 of each file's content, in hexadecimal digits.
        shown: SHA-256 of each image's pixels.
        remarks: See `Picture`.
        faults: Why each file cannot be read; empty if it can.
    """

    images: Tensor
    digests: list[str]
    shown: list[bytes]
    remarks: list[tuple[str, ...]]
    faults: list[str]


@dataclass(frozen=True)
class _Files(Dataset[Decoded]):
    """The data set of a worker process. It reads one file at a time."""

    files: Sequence[str]
    size: int
    grey: bool
    exif: bool
    digests: bool = True  # else they are left empty, which is faster

    def __getitem__(self, index: int) -> Decoded:
        blank = torch.zeros(1 if self.grey else 3, self.size, self.size, dtype=torch.uint8)
        picture, digest, shown, fault = Picture(blank), "", b"", ""
        try:
            content = Path(self.files[index]).read_bytes()
            if self.digests:
                digest = hashlib.sha256(content).hexdigest()
            picture = decode(content, self.size, self.grey, self.exif)
            if self.digests:
                shown = hashlib.sha256(picture.pixels.numpy().tobytes()).digest()
        except UnidentifiedImageError:
            fault = "no image"
        except Exception as error:  # a damaged file breaks a decoder in any way
            fault = explain(error)
        return Decoded(picture.pixels[None], [digest], [shown], [picture.remarks], [fault])


def _join(found: Sequence[Decoded]) -> Decoded:
    images, *lists = zip(*found, strict=True)
    return Decoded(torch.cat(images), *(list(chain.from_iterable(each)) for each in lists))


class ImageFiles(StoredImages):
    """Images in files. They are decoded when they are looked up.

    Args:
        files: Paths of the files.
        size: Side of a decoded image in pixels.
        grey: Whether images have one channel instead of three.
        exif: Whether images are rotated and mirrored by their EXIF orientation.
        workers: Processes that decode. 0: the main process decodes, and not ahead of use.
        device: Device of the images.

    Attributes:
        files: As given.
        exif: As given.
    """

    def __init__(
        self,
        files: Sequence[str],
        *,
        size: int,
        grey: bool,
        exif: bool = True,
        workers: int,
        device: torch.device,
    ) -> None:
        self.shape = (len(files), 1 if grey else 3, size, size)
        self.files, self.exif = files, exif
        self._files = _Files(files, size, grey, exif)
        self._workers, self._device = workers, device

    def read_all(self, keep: bool) -> Decoded:
        """Return what all files hold; without the images unless they are to be kept."""
        count, *shape = self.shape
        kept = torch.empty((count if keep else 0, *shape), dtype=torch.uint8)
        whole = Decoded(kept, [], [], [], [])
        for some in self.decode(torch.split(torch.arange(count), LOOKED_UP_TOGETHER)):
            if keep:
                kept[len(whole.faults) :][: len(some.faults)] = some.images
            whole.digests.extend(some.digests)
            whole.shown.extend(some.shown)
            whole.remarks.extend(some.remarks)
            whole.faults.extend(some.faults)
        return whole

    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        """Decode the images of each piece of rows.

        Raises:
            DataError: If a file cannot be read.
        """
        for piece, decoded in zip(pieces, self.decode(pieces, digests=False), strict=True):
            for row, fault in zip(piece.tolist(), decoded.faults, strict=True):
                if fault:
                    raise DataError(f"{self._files.files[row]} cannot be read any more: {fault}.")
            yield decoded.images.to(self._device)

    def decode(self, pieces: Sequence[Tensor], digests: bool = True) -> Iterator[Decoded]:
        """Decode the images of each piece of rows on the CPU; unreadable files have a fault.

        Args:
            pieces: Rows, int64 of shape (B,) each.
            digests: Whether digests are computed.

        Raises:
            DataError: If the worker processes cannot begin, or end before their work is done.
        """
        if self._workers and _is_imported_by_a_new_process():
            raise SystemExit(GUARD)  # the process ends here, and the one that started it says why
        workers, begun = self._workers if len(pieces) > 1 else 0, False
        try:
            for decoded in DataLoader(
                replace(self._files, digests=digests),
                batch_sampler=[piece.tolist() for piece in pieces],
                collate_fn=_join,
                num_workers=workers,
                generator=torch.Generator(),  # or the loader draws from the global one
            ):
                begun = True
                yield decoded
        except (RuntimeError, OSError, EOFError) as error:
            if not workers:
                raise
            imports = not begun and multiprocessing.get_start_method() != "fork"
            raise DataError(
                f"the processes that read images {'ended' if begun else 'could not begin'} "
                f"({explain(error)}). {GUARD if imports else 'Read without them: workers=0.'}"
            ) from None  # torch's own traceback is long, and says no more


def _is_imported_by_a_new_process() -> bool:
    """Return whether this process is still importing the script that started it, unguarded."""
    return getattr(multiprocessing.current_process(), "_inheriting", False)
