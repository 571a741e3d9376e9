"""Folders of images as data sets."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from bnnlab.engine.building import expand
from bnnlab.errors import NOTE, DataError
from bnnlab.interfaces.examples import LOOKED_UP_TOGETHER, Examples
from bnnlab.seeds import permutation
from bnnlab_vision.copies import Copies, look_for_copies, look_for_two_classes
from bnnlab_vision.layout import read_layout
from bnnlab_vision.names import NAMED, ROLES, Role, listed, normal
from bnnlab_vision.reading import TURNED, Decoded, ImageFiles
from bnnlab_vision.source import Dataset, Source, channel_statistics

log = logging.getLogger("bnnlab.vision")  # below `bnnlab`, which the command line shows

InMemory = Literal["auto", "always", "never"]
Corrupt = Literal["refuse", "skip"]

IN_MEMORY_BYTES = 4 * 2**30
"""With `in_memory="auto"`, decoded images of at most this many bytes are kept in memory."""
STATISTICS_IMAGES = 2000
"""Number of training images that mean and standard deviation are measured on."""


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

    def __init__(
        self,
        root: Path,
        *,
        image_size: int,
        grey: bool,
        exif: bool,
        test_share: float,
        in_memory: InMemory,
        workers: int,
        corrupt: Corrupt,
        copies: Copies,
        class_order: str = "",
    ) -> None:
        file = root / expand(class_order)
        order = _read_order(file) if class_order else []
        self._layout = layout = read_layout(root, order)
        if order:
            _check_order(order, layout.classes, file)
        self._ordered, self._names = bool(order), order or layout.classes
        label = {name: number for number, name in enumerate(self._names)}
        images = [
            (path, label[name], number)
            for number, role in enumerate(ROLES)
            for path, name in layout.images.get(role, [])
        ]
        self._files = [path for path, _, _ in images]
        self._paths = [normal(path.relative_to(root).as_posix()) for path in self._files]
        self._labels = torch.tensor([label for _, label, _ in images])
        self._roles = torch.tensor([role for _, _, role in images])
        self.shape = (1 if grey else 3, image_size, image_size)
        self.classes = len(self._names)
        self._root, self._test_share, self._exif = root, test_share, exif
        self._in_memory, self._workers = in_memory, workers
        self._corrupt, self._copies = corrupt, copies

    def load(self, data: Path, device: torch.device, seed: int) -> Dataset:  # noqa: ARG002
        """Read every file once, so that a corrupt one is known before training.

        The digest is over the names, relative to the folder, and contents of all files used, and
        over the classes in their order if a file says it.
        Normalisation is by `STATISTICS_IMAGES` training images, always the same of equal ones.

        Raises:
            DataError: If files are corrupt and to be refused, no image of a class is left, or
                copies are to be refused.
        """
        self._tell()
        channels, size, _ = self.shape
        count = len(self._files)
        stored = ImageFiles(
            [str(file) for file in self._files],
            size=size,
            grey=channels == 1,
            exif=self._exif,
            workers=self._workers,
            device=device,
        )
        held = self._in_memory == "always" or (
            self._in_memory == "auto" and count * channels * size**2 <= IN_MEMORY_BYTES
        )
        found = self._read(stored, held)
        self._report(found)
        rows = [row for row, fault in enumerate(found.faults) if not fault]
        parts = self._divide(torch.tensor(rows, dtype=torch.int64), seed)
        self._look_for_copies(parts, found.shown)
        stored.digests = found.shown

        pixels = found.images.to(device) if held else stored
        unknown = torch.zeros(channels, 1, 1, device=device)
        learned = parts["train"].to(device)
        train = Examples(pixels, self._labels.to(device), learned, unknown, unknown)
        sample = permutation(len(train), 0, "statistics")[:STATISTICS_IMAGES]
        mean, std = channel_statistics(train.raw(sample)[0])
        train = replace(train, mean=mean, std=std)
        others = {role: replace(train, rows=rows.to(device)) for role, rows in parts.items()}
        facts: dict[str, float] = {"image_size": size, "grey": channels == 1}
        facts["left_out"] = count - len(rows)
        turned = sum(TURNED in remarks for remarks in found.remarks)
        if turned:  # else the images are those of a run without `exif`
            facts["turned_by_exif"] = turned
        if "test" not in self._layout.images:
            facts["test_share"] = self._test_share
        digest = self._digest(rows, found.digests)
        return Dataset(train, others["test"], digest, facts, others.get("validation"))

    def _read(self, stored: ImageFiles, held: bool) -> Decoded:
        """Return what all files hold, without the images if they are not held."""
        count = len(self._files)
        images = torch.empty((count if held else 0, *self.shape), dtype=torch.uint8)
        found = Decoded(images, [], [], [], [])
        for decoded in stored.decode(torch.split(torch.arange(count), LOOKED_UP_TOGETHER)):
            first = len(found.faults)
            if held:
                images[first : first + len(decoded.faults)] = decoded.images
            found.digests.extend(decoded.digests)
            found.shown.extend(decoded.shown)
            found.remarks.extend(decoded.remarks)
            found.faults.extend(decoded.faults)
        return found

    def _tell(self) -> None:
        """Say what the folder was understood to hold, before the time that reading takes."""
        layout = self._layout
        log.log(NOTE, "%s: %s", self._root.resolve().name, layout.summary(self._test_share))
        for line in layout.details():
            log.info("%s", line)
        odd = layout.odd_files()
        if odd:
            log.warning("not used in %s: %s", self._root, odd)

    def _report(self, found: Decoded) -> None:
        """Say what was made of some files, and refuse those that cannot be read or name them."""
        made: dict[str, list[str]] = defaultdict(list)
        for row, remarks in enumerate(found.remarks):
            for remark in remarks:
                made[remark].append(self._paths[row])
        for remark, names in made.items():
            level = logging.INFO if remark == TURNED else logging.WARNING
            log.log(level, "%d images are %s: %s", len(names), remark, listed(names))
        named = [f"{self._paths[row]} ({fault})" for row, fault in enumerate(found.faults) if fault]
        if not named:
            return
        what = f"{len(named)} of {len(self._files)} images in {self._root} cannot be read: "
        if self._corrupt == "refuse":
            raise DataError(
                f"{what}{listed(named)}. Mend or delete them, or leave them out with corrupt=skip."
            )
        log.warning("%s%s. They are left out.", what, ", ".join(named))

    def _divide(self, good: Tensor, seed: int) -> dict[Role, Tensor]:
        """Return the rows of each part, among the good ones."""
        labels = self._labels[good]
        parts = {role: good[self._roles[good] == number] for number, role in enumerate(ROLES)}
        if "test" not in self._layout.images:
            tested = torch.zeros(len(good), dtype=torch.bool)
            for label in range(self.classes):
                places = (labels == label).nonzero()[:, 0]
                count = min(max(1, round(self._test_share * len(places))), len(places) - 1)
                order = permutation(len(places), seed, "test", label)
                tested[places[order[: max(0, count)]]] = True
            parts |= {"train": good[~tested], "test": good[tested]}
        counts = {
            role: torch.bincount(self._labels[rows], minlength=self.classes)
            for role, rows in parts.items()
        }
        if not counts["train"].all():
            name = self._names[int(counts["train"].argmin())]
            raise DataError(f"{self._root} has no image of class {name!r} to learn from.")
        if not counts["test"].any():
            raise DataError(
                f"{self._root} has one image per class, and no test part: "
                "nothing is left to test on."
                if "test" not in self._layout.images
                else f"{self._root}: no image of the test part can be read."
            )
        never = [self._names[label] for label in (counts["test"] == 0).nonzero()[:, 0].tolist()]
        if never:
            log.warning("no image is left to test on of class %s", listed(never))
        return {role: rows for role, rows in parts.items() if len(rows)}

    def _look_for_copies(self, parts: dict[Role, Tensor], shown: Sequence[bytes]) -> None:
        images = self._paths, shown, self._labels.tolist()
        learned = parts["train"].tolist()
        for role, rows in parts.items():
            if role != "train":
                look_for_copies(*images, learned, rows.tolist(), role, self._copies)
        look_for_two_classes(*images, learned)

    def _digest(self, rows: Sequence[int], digests: Sequence[str]) -> str:
        found = hashlib.sha256()
        for name, digest in sorted((self._paths[row], digests[row]) for row in rows):
            found.update(f"{name}\0{digest}\n".encode(errors="surrogateescape"))
        for name in self._names if self._ordered else []:
            found.update(f"{name}\n".encode(errors="surrogateescape"))
        return found.hexdigest()[:16]


def _read_order(file: Path) -> list[str]:
    """Return the classes' names as a file lists them."""
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
