"""The images of a folder as numbered rows, and which of them are learned from and tested."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bnnlab.errors import DataError
from bnnlab.seeds import permutation
from bnnlab_vision.layout import Layout, read_layout
from bnnlab_vision.names import NAMED, ROLES, Role, listed, normal

log = logging.getLogger("bnnlab.vision")  # below `bnnlab`, which the command line shows


@dataclass(frozen=True, eq=False)
class Listing:
    """The images of a folder. A row is an image.

    Attributes:
        root: The folder.
        layout: What was found in it.
        classes: Names of the classes, in the order of their labels.
        files: File of each row.
        names: Name of each file in the folder, in Unicode NFC.
        labels: int64 of shape (N,).
        parts: Rows of each part that the folder has. Without parts, all rows are `train`.
    """

    root: Path
    layout: Layout
    classes: Sequence[str]
    files: Sequence[str]
    names: Sequence[str]
    labels: Tensor
    parts: dict[Role, Tensor]

    def divide(self, good: Tensor, test_share: float, seed: int) -> dict[Role, Tensor]:
        """Return the rows of each part, without those that cannot be read.

        Args:
            good: Whether a row can be read, bool of shape (N,).
            test_share: Share of each class for test, at least one image, if the folder has no test
                part.
            seed: Chooses this share.

        Raises:
            DataError: If nothing is left to learn a class from, or nothing to test on.
        """
        parts = {role: rows[good[rows]] for role, rows in self.parts.items()}
        if "test" not in parts:
            parts["train"], parts["test"] = self._share_out(parts["train"], test_share, seed)
        counts = {
            role: torch.bincount(self.labels[rows], minlength=len(self.classes))
            for role, rows in parts.items()
        }
        if not counts["train"].all():
            name = self.classes[int(counts["train"].argmin())]
            raise DataError(f"{self.root} has no image of class {name!r} to learn from.")
        if not counts["test"].any():
            raise DataError(
                f"{self.root}: no image of the test part can be read."
                if "test" in self.parts
                else f"{self.root} has one image per class, and no test part: "
                "nothing is left to test on."
            )
        never = [self.classes[label] for label in (counts["test"] == 0).nonzero()[:, 0].tolist()]
        if never:
            log.warning("no image is left to test on of class %s", listed(never))
        return {role: rows for role, rows in parts.items() if len(rows)}

    def _share_out(self, rows: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
        """Return the rows to learn from, and a share of each class to test on."""
        tested = torch.zeros(len(rows), dtype=torch.bool)
        for label in range(len(self.classes)):
            places = (self.labels[rows] == label).nonzero()[:, 0]
            count = min(max(1, round(share * len(places))), len(places) - 1)
            order = permutation(len(places), seed, "test", label)
            tested[places[order[: max(0, count)]]] = True
        return rows[~tested], rows[tested]


def list_images(root: Path, order_file: Path | None = None) -> Listing:
    """Find the images of a folder.

    Args:
        root: The folder.
        order_file: Text file with the classes' names in order, one per line. None: sorted by name.

    Raises:
        DataError: If the folder or the file is not what it must be; see `read_layout`.
    """
    order = _read_order(order_file) if order_file else []
    layout = read_layout(root, order)
    if order_file:
        _check_order(order, layout.classes, order_file)
    classes = order or layout.classes
    label = {name: number for number, name in enumerate(classes)}
    images = [image for role in ROLES for image in layout.images.get(role, [])]
    roles = [role for role in ROLES if role in layout.images]
    counts = [len(layout.images[role]) for role in roles]
    parts = torch.split(torch.arange(len(images)), counts)
    above = f"{root.as_posix().rstrip('/')}/"
    return Listing(
        root,
        layout,
        classes,
        [file for file, _ in images],
        [normal(file.replace(os.sep, "/").removeprefix(above)) for file, _ in images],
        torch.tensor([label[name] for _, name in images]),
        dict(zip(roles, parts, strict=True)),
    )


def _read_order(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"class_order: {file} cannot be read: {error}") from error
    return [normal(line.strip()) for line in lines if line.strip()]


def _check_order(order: Sequence[str], names: Sequence[str], file: Path) -> None:
    if sorted(order) != sorted(names):
        odd = sorted({*names} ^ {*order}) or ["one of them twice"]
        raise DataError(
            f"class_order: {file} must list each of the {len(names)} classes once; wrong: "
            f"{', '.join(odd[:NAMED])}"
        )
