"""Find images with equal pixels in two parts or in two classes."""

import logging
from collections.abc import Sequence
from typing import Literal

from bnnlab.errors import NOTE, DataError
from bnnlab_vision.names import listed

log = logging.getLogger("bnnlab.vision")

Copies = Literal["warn", "refuse"]


def look_for_copies(
    names: Sequence[str],
    shown: Sequence[bytes],
    labels: Sequence[int],
    learned: Sequence[int],
    unseen: Sequence[int],
    part: str,
    copies: Copies,
) -> None:
    """Report images of a validation or test part that are also training images.

    Images are equal if their decoded pixels are: a file twice, a picture in two formats, pictures
    that differ only in what decoding drops.

    The core counts test images with a copy of the same label, warns, and refuses too large a share.
    So these are only named here.

    Args:
        names: Names of all images.
        shown: A digest of the pixels of each image.
        labels: Labels of all images.
        learned: Rows of the training images.
        unseen: Rows of the validation or test images.
        part: Name of this part, for the message.
        copies: Whether copies lead to a warning or to an error.

    Raises:
        DataError: If there are copies, and they are refused.
    """
    first = {shown[row]: row for row in reversed(learned)}
    pairs = [(row, first[shown[row]]) for row in unseen if shown[row] in first]

    def describe(some: Sequence[tuple[int, int]]) -> str:
        return (
            f"{len(some)} of {len(unseen)} {part} images are learned from, too, pixel for pixel "
            f"({listed(f'{names[row]} = {names[other]}' for row, other in some)})."
        )

    if pairs and copies == "refuse":
        raise DataError(
            f"{describe(pairs)} Delete them in one of the parts, or accept them with copies=warn."
        )
    counted, others = [], []
    for row, other in pairs:
        alike = part == "test" and labels[row] == labels[other]
        (counted if alike else others).append((row, other))
    if counted:
        log.log(NOTE, "%s", describe(counted))
    if others:
        log.warning("%s What is measured on them says nothing of new images.", describe(others))


def look_for_two_classes(
    names: Sequence[str], shown: Sequence[bytes], labels: Sequence[int], rows: Sequence[int]
) -> None:
    """Warn of images in these rows that are equal and in two classes; see `look_for_copies`."""
    first = {shown[row]: row for row in reversed(rows)}
    pairs = [(row, first[shown[row]]) for row in rows if labels[first[shown[row]]] != labels[row]]
    if pairs:
        log.warning(
            "%d images have two classes, pixel for pixel (%s). No network can tell them apart.",
            len(pairs),
            listed(f"{names[row]} = {names[other]}" for row, other in pairs),
        )
