"""Images that are decoded from their files, by worker processes ahead of their use."""

import hashlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as transforms

from bnnlab.errors import DataError, explain
from bnnlab.stream import StoredImages


class Decoded(NamedTuple):
    """What B files hold.

    Attributes:
        images: uint8 of shape (B, C, S, S); 0 where there is a fault.
        digests: SHA-256 of each file's content, in hexadecimal digits.
        faults: Why each file cannot be read; empty where it can.
    """

    images: Tensor
    digests: list[str]
    faults: list[str]


def decode(content: bytes, size: int, grey: bool) -> Tensor:
    """Return an image, uint8 of shape (1 if grey else 3, size, size).

    Its shorter side is resized to `size`, bilinearly with antialiasing, and the centre cut out.
    Grey values of 16 bits are rounded to 8.

    Raises:
        Exception: Of any type, if it is no image or damaged.
    """
    with Image.open(BytesIO(content)) as image:
        whole = transforms.resize(_eight_bits(image).convert("L" if grey else "RGB"), [size])
    pixels: Tensor = transforms.pil_to_tensor(transforms.center_crop(whole, [size]))
    return pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    low, high = image.getextrema() if image.mode in ("F", "I") else (0, 0)
    if image.mode == "F" or low < 0 or high > 65535:
        raise ValueError(f"values from {low} to {high}, mode {image.mode}, are not of 8 or 16 bits")
    if image.mode.startswith("I"):
        return image.point(lambda x: x / 257 + 0.5).convert("L")  # convert() alone would clip
    return image


class _Files(Dataset[tuple[Tensor, str, str]]):
    """What a worker process is given."""

    def __init__(self, files: Sequence[str], size: int, grey: bool) -> None:
        self.files, self.size, self.grey = files, size, grey

    def __getitem__(self, index: int) -> tuple[Tensor, str, str]:
        pixels = torch.zeros(1 if self.grey else 3, self.size, self.size, dtype=torch.uint8)
        digest = fault = ""
        try:
            content = Path(self.files[index]).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            pixels = decode(content, self.size, self.grey)
        except UnidentifiedImageError:
            fault = "no image"
        except Exception as error:  # a damaged file breaks a decoder in any way
            fault = explain(error)
        return pixels, digest, fault


def _join(found: Sequence[tuple[Tensor, str, str]]) -> Decoded:
    images, digests, faults = zip(*found, strict=True)
    return Decoded(torch.stack(images), list(digests), list(faults))


class ImageFiles(StoredImages):
    """Images in files, decoded whenever they are looked up.

    Args:
        files: Their paths.
        size: Side of a decoded image, in pixels.
        grey: Whether images have one channel in place of three.
        workers: Processes that decode; with 0, this one does, and nothing ahead of its use.
        device: Where images are put.
    """

    def __init__(
        self, files: Sequence[str], *, size: int, grey: bool, workers: int, device: torch.device
    ) -> None:
        self.shape = (len(files), 1 if grey else 3, size, size)
        self._files = _Files(files, size, grey)
        self._workers, self._device = workers, device

    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        """Decode the images of each piece of rows.

        Raises:
            DataError: If a file cannot be read.
        """
        for piece, decoded in zip(pieces, self.decode(pieces), strict=True):
            for row, fault in zip(piece.tolist(), decoded.faults, strict=True):
                if fault:
                    raise DataError(f"{self._files.files[row]} cannot be read any more: {fault}.")
            yield decoded.images.to(self._device)

    def decode(self, pieces: Sequence[Tensor]) -> Iterator[Decoded]:
        """Decode the images of each piece of rows, on the CPU, whether they can be read or not."""
        return iter(
            DataLoader(
                self._files,
                batch_sampler=[piece.tolist() for piece in pieces],
                collate_fn=_join,
                num_workers=self._workers if len(pieces) > 1 else 0,
                generator=torch.Generator(),  # or the loader draws from the global one
            )
        )
