"""Images that are the same pixel for pixel, in two parts or in two classes."""

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
    """Say which images of a part that must be new are learned from, too.

    Images are the same if the network is shown the same pixels: of one file twice, of two formats
    of one picture, and of pictures that differ only in what decoding drops.

    The core counts test images of the same label, warns of them, and refuses them above a share.
    Here these are only named.

    Args:
        names: Of all images.
        shown: A digest of the pixels of each image.
        labels: Of all images.
        learned: Rows that are learned from.
        unseen: Rows that must be new.
        part: What these are, for the message.
        copies: Whether copies are warned of or refused.

    Raises:
        DataError: If there are some, and they are refused.
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
    """Warn of images among these rows that are the same in two classes; see `look_for_copies`."""
    first = {shown[row]: row for row in reversed(rows)}
    pairs = [(row, first[shown[row]]) for row in rows if labels[first[shown[row]]] != labels[row]]
    if pairs:
        log.warning(
            "%d images have two classes, pixel for pixel (%s). No network can tell them apart.",
            len(pairs),
            listed(f"{names[row]} = {names[other]}" for row, other in pairs),
        )
