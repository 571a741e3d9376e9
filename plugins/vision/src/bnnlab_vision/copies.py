"""Find images with equal pixels in two parts or in two classes."""

import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from bnnlab.errors import NOTE, DataError
from bnnlab_vision.listing import Listing
from bnnlab_vision.names import Role, listed

log = logging.getLogger("bnnlab.vision")

Copies = Literal["warn", "refuse"]


def look_for_copies(
    images: Listing, shown: Sequence[bytes], parts: Mapping[Role, Tensor], copies: Copies
) -> None:
    """Report images that are in two classes, or learned from and in another part, too.

    Images are equal if their decoded pixels are: a file twice, a picture in two formats, pictures
    that differ only in what decoding drops.

    The core counts test images with a copy of the same label, warns, and refuses too large a share.
    So these are only named here.

    Args:
        images: The images.
        shown: A digest of the pixels of each row.
        parts: Rows of each part.
        copies: Whether copies lead to a warning or to an error.

    Raises:
        DataError: If there are copies, and they are refused.
    """
    labels, learned = images.labels.tolist(), parts["train"].tolist()
    first = {shown[row]: row for row in reversed(learned)}

    def pairs_in(rows: Sequence[int]) -> list[tuple[int, int]]:
        return [(row, first[shown[row]]) for row in rows if shown[row] in first]

    def names_of(pairs: Sequence[tuple[int, int]]) -> str:
        return listed(f"{images.names[row]} = {images.names[other]}" for row, other in pairs)

    for part, rows in parts.items():
        pairs = pairs_in(rows.tolist()) if part != "train" else []
        said = f"of {len(rows)} {part} images are learned from, too, pixel for pixel"
        if pairs and copies == "refuse":
            raise DataError(
                f"{len(pairs)} {said} ({names_of(pairs)}). Delete them in one of the parts, or "
                "accept them with copies=warn."
            )
        counted, others = list[tuple[int, int]](), list[tuple[int, int]]()
        for row, other in pairs:
            alike = part == "test" and labels[row] == labels[other]
            (counted if alike else others).append((row, other))
        if counted:
            log.log(NOTE, "%d %s (%s).", len(counted), said, names_of(counted))
        if others:
            log.warning(
                "%d %s (%s). What is measured on them says nothing of new images.",
                len(others),
                said,
                names_of(others),
            )
    two = [(row, other) for row, other in pairs_in(learned) if labels[row] != labels[other]]
    if two:
        log.warning(
            "%d images have two classes, pixel for pixel (%s). No network can tell them apart.",
            len(two),
            names_of(two),
        )
