"""Folders of images as data sets."""

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bnnlab.engine.building import expand
from bnnlab.errors import DataError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.keeping import kept
from bnnlab.seeds import permutation
from bnnlab_vision.cached import read_all, state_of
from bnnlab_vision.copies import Copies, look_for_copies
from bnnlab_vision.decoding import TURNED
from bnnlab_vision.listing import list_images
from bnnlab_vision.names import Role, listed
from bnnlab_vision.reading import Decoded, ImageFiles
from bnnlab_vision.source import Dataset, Source, channel_statistics

log = logging.getLogger("bnnlab.vision")  # below `bnnlab`, which the command line shows

InMemory = Literal["auto", "always", "never"]
Corrupt = Literal["refuse", "skip"]

IN_MEMORY_BYTES = 4 * 2**30
"""With `in_memory="auto"`, decoded images of at most this many bytes are kept in memory."""
STATISTICS_IMAGES = 2000
"""Number of training images that mean and standard deviation are measured on."""


@dataclass(kw_only=True, eq=False)
class Folder(Source):
    """A folder of images: `CLASS/*`, or `train/CLASS/*` and `test/CLASS/*`.

    `bnnlab_vision.names` says how parts may be called, `bnnlab_vision.layout` what is refused.
    Classes are sorted by name. A validation part is held out; without a test part it is the test
    part. If there is neither, the seed chooses a share of each class, at least one image, for test.

    The other arguments are options of `bnnlab_vision.folders.OverFolder`.

    Args:
        root: The folder.

    Raises:
        DataError: If it is no such folder, is ambiguous, has a single class, its parts have
            different classes, or the file `class_order` has others.
    """

    name = "image-folder"

    root: Path
    image_size: int
    grey: bool
    exif: bool
    test_share: float
    in_memory: InMemory
    workers: int
    corrupt: Corrupt
    copies: Copies
    class_order: str = ""

    def __post_init__(self) -> None:
        order = self.root / expand(self.class_order) if self.class_order else None
        self._images = list_images(self.root, order)
        self.classes = len(self._images.classes)
        self.shape = (1 if self.grey else 3, self.image_size, self.image_size)

    def load(self, data: Path, device: torch.device, seed: int) -> Dataset:  # noqa: ARG002
        """Read every file once, so that a corrupt one is known before training.

        The digest is over the names, relative to the folder, and contents of all files used, and
        over the classes in their order if a file says it.
        Normalisation is by `STATISTICS_IMAGES` training images, always the same of equal ones.

        Raises:
            DataError: If files are corrupt and to be refused, no image of a class is left, or
                copies are to be refused.
        """
        images = self._images
        images.layout.tell(self.root, self.test_share)
        fits = len(images.files) * math.prod(self.shape) <= IN_MEMORY_BYTES
        held = self.in_memory == "always" or (self.in_memory == "auto" and fits)
        stored, found = _read(
            images.files,
            state_of(images.files),
            held,
            size=self.image_size,
            grey=self.grey,
            exif=self.exif,
            workers=self.workers,
            device=device,
        )
        _report(found, images.names, self.root, self.corrupt)
        good = torch.tensor([not fault for fault in found.faults], dtype=torch.bool)
        parts = images.divide(good, self.test_share, seed)
        look_for_copies(images, found.shown, parts, self.copies)
        pixels = found.images.to(device) if held else stored
        examples = self._normalised(pixels, {role: rows.to(device) for role, rows in parts.items()})
        return Dataset(
            examples["train"],
            examples["test"],
            _digest(found, images.names, images.classes if self.class_order else []),
            self._facts(found),
            examples.get("validation"),
            images.classes,
        )

    def _normalised(
        self, pixels: Tensor | ImageFiles, parts: dict[Role, Tensor]
    ) -> dict[Role, Examples]:
        """Return the examples of each part, normalised as the training part is."""
        rows = parts["train"]
        unknown = torch.zeros(self.shape[0], 1, 1, device=rows.device)
        labels = self._images.labels.to(rows.device)
        learned = Examples(pixels, labels, rows, unknown, unknown, prepared=self._prepared())
        sample = permutation(len(learned), 0, "statistics")[:STATISTICS_IMAGES]
        mean, std = channel_statistics(learned.raw(sample)[0])
        learned = replace(learned, mean=mean, std=std)
        return {role: replace(learned, rows=rows) for role, rows in parts.items()}

    def _prepared(self) -> tuple[str, ...]:
        """Return what `decode` does to an image."""
        size = self.image_size
        upright = ("turned upright as their EXIF says",) if self.exif else ()
        return (
            *(("in grey",) if self.grey else ()),
            *upright,
            f"the shorter side resized to {size} pixels with antialiasing, the centre cut out",
        )

    def _facts(self, found: Decoded) -> dict[str, float]:
        """Return what the protocol says of the images."""
        facts: dict[str, float] = {"image_size": self.image_size, "grey": self.grey}
        facts["left_out"] = sum(fault != "" for fault in found.faults)
        turned = sum(TURNED in remarks for remarks in found.remarks)
        if turned:  # else the images are those of a run without `exif`
            facts["turned_by_exif"] = turned
        if "test" not in self._images.parts:
            facts["test_share"] = self.test_share
        return facts


@kept
def _read(
    files: Sequence[str], state: bytes, held: bool, **options: Any
) -> tuple[ImageFiles, Decoded]:
    """Return the images of files in this state, and what they hold; `held`: in memory, too."""
    stored = ImageFiles(files, **options)
    found = read_all(stored, state, held)
    stored.digests = found.shown
    return stored, found


def _report(found: Decoded, names: Sequence[str], root: Path, corrupt: Corrupt) -> None:
    """Say what was made of some files. Refuse those that cannot be read, or name them."""
    made: dict[str, list[str]] = defaultdict(list)
    for name, remarks in zip(names, found.remarks, strict=True):
        for remark in remarks:
            made[remark].append(name)
    for remark, alike in made.items():
        level = logging.INFO if remark == TURNED else logging.WARNING
        log.log(level, "%d images are %s: %s", len(alike), remark, listed(alike))
    faults = zip(names, found.faults, strict=True)
    damaged = [f"{name} ({fault})" for name, fault in faults if fault]
    what = f"{len(damaged)} of {len(names)} images in {root} cannot be read: "
    if damaged and corrupt == "refuse":
        raise DataError(
            f"{what}{listed(damaged)}. Mend or delete them, or leave them out with corrupt=skip."
        )
    if damaged:
        log.warning("%s%s. They are left out.", what, ", ".join(damaged))


def _digest(found: Decoded, names: Sequence[str], classes: Sequence[str]) -> str:
    """Return a digest of the names and contents of the images, and of these classes in order."""
    digest = hashlib.sha256()
    rows = zip(names, found.digests, found.faults, strict=True)
    for name, content in sorted((name, content) for name, content, fault in rows if not fault):
        digest.update(f"{name}\0{content}\n".encode(errors="surrogateescape"))
    for name in classes:
        digest.update(f"{name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
