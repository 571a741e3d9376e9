"""Decode images from their files, in worker processes and ahead of their use."""

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transforms

from bnnlab.errors import DataError, explain
from bnnlab.interfaces.examples import StoredImages

TURNED = "turned as their EXIF says"
TRANSPARENT = "in part transparent; what lies below the transparency is used"
FRAMES = "of several frames or pages; the first is used"
NO_EXIF = "with EXIF that cannot be read; they are not turned"

GUARD = (
    "Each of them imports the script that starts it: put the script's work below "
    '`if __name__ == "__main__":`, or read without them (workers=0).'
)
"""What to do if `spawn` or `forkserver` starts processes and the script has no main guard."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transpositions that make an image upright, by EXIF orientation; 1 is upright."""


class Picture(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: uint8 of shape (C, S, S).
        remarks: Notes on its decoding, from the constants above.
    """

    pixels: Tensor
    remarks: tuple[str, ...] = ()


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


def decode(content: bytes, size: int, grey: bool, exif: bool = True) -> Picture:
    """Return an image, uint8 of shape (1 if grey else 3, size, size).

    The image is rotated and mirrored by its EXIF orientation. Its shorter side is resized to
    `size`, bilinearly with antialiasing, and the centre is cut out. Grey values of 16 bits are
    rounded to 8. Of several frames the first is used. Transparency is dropped.

    Args:
        content: Content of the file.
        size: Side of the result in pixels.
        grey: Whether the result has one channel instead of three.
        exif: Whether the EXIF orientation is used. For TIFF, Pillow always uses it.

    Raises:
        Exception: Of any type, if it is no image or damaged.
    """
    with Image.open(BytesIO(content)) as image:
        several = getattr(image, "is_animated", False) and image.format != "MPO"  # its previews
        image.load()
        transparent = "transparency" in image.info or (
            "A" in image.getbands() and image.getchannel("A").getextrema() != (255, 255)
        )
        way, remark = _orientation(image) if exif else (None, "")
        flat = _eight_bits(image).convert("L" if grey else "RGB")
        upright = flat if way is None else flat.transpose(way)
    whole = transforms.center_crop(transforms.resize(upright, [size]), [size])
    remarks = (remark, TRANSPARENT * transparent, FRAMES * several)
    return Picture(transforms.pil_to_tensor(whole), tuple(filter(None, remarks)))


def _orientation(image: Image.Image) -> tuple[Image.Transpose | None, str]:
    """Return the transposition that makes an image upright, or None, and a remark, or ""."""
    try:
        way = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF breaks its parser in any way; the pixels are none the worse
        return None, NO_EXIF
    return way, TURNED if way is not None else ""


def _eight_bits(image: Image.Image) -> Image.Image:
    low, high = image.getextrema() if image.mode in ("F", "I") else (0, 0)
    if image.mode == "F" or low < 0 or high > 65535:
        raise ValueError(f"values from {low} to {high}, mode {image.mode}, are not of 8 or 16 bits")
    if image.mode.startswith("I"):
        return image.point(lambda x: x / 257 + 0.5).convert("L")  # convert() alone would clip
    return image


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
        self._files = _Files(files, size, grey, exif)
        self._workers, self._device = workers, device

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
