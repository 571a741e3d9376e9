"""Decode an image."""

from io import BytesIO
from typing import Any, NamedTuple

from PIL import ExifTags, Image
from torch import Tensor

TURNED = "turned as their EXIF says"
TRANSPARENT = "in part transparent; what lies below the transparency is used"
FRAMES = "of several frames or pages; the first is used"
DARK = "of 16 bits, with values below 4096 alone: nearly black, if they are not scaled to 65535"
NO_EXIF = "with EXIF that cannot be read; they are not turned"

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
    from torchvision.transforms.v2 import functional as transforms  # not where all is kept

    with Image.open(BytesIO(content)) as image:
        several = getattr(image, "is_animated", False) and image.format != "MPO"  # its previews
        image.load()
        transparent = "transparency" in image.info or (
            "A" in image.getbands() and image.getchannel("A").getextrema() != (255, 255)
        )
        way, remark = _orientation(image) if exif else (None, "")
        eight, dark = _eight_bits(image)
        flat = eight.convert("L" if grey else "RGB")
        upright = flat if way is None else flat.transpose(way)
    whole = transforms.center_crop(transforms.resize(upright, [size]), [size])
    remarks = {remark: remark != "", TRANSPARENT: transparent, FRAMES: several, DARK: dark}
    apply = tuple(remark for remark, applies in remarks.items() if applies)
    return Picture(transforms.pil_to_tensor(whole), apply)


def _orientation(image: Image.Image) -> tuple[Image.Transpose | None, str]:
    """Return the transposition that makes an image upright, or None, and a remark, or ""."""
    try:
        way = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF breaks its parser in any way; the pixels are none the worse
        return None, NO_EXIF
    return way, TURNED if way is not None else ""


def _eight_bits(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return an image with 8 bits per channel, and whether it is `DARK`."""
    if image.mode[0] not in "FI":
        return image, False
    if image.mode != "F":
        image = image.convert("I")  # Pillow cannot do the rest in the mode I;16B
    extrema: Any = image.getextrema()
    low, high = extrema
    if image.mode == "F" or low < 0 or high > 65535:
        raise ValueError(f"values from {low} to {high}, mode {image.mode}, are not of 8 or 16 bits")
    eight = image.point(lambda x: x / 257 + 0.5).convert("L")  # convert() alone would clip
    return eight, 0 < high < 4096
