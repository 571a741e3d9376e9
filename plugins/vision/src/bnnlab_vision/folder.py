"""Folders of images as data sets."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision.datasets import ImageFolder

from bnnlab.building import expand
from bnnlab.errors import DataError
from bnnlab.seeds import permutation
from bnnlab.stream import LOOKED_UP_TOGETHER, Examples
from bnnlab_vision.reading import ImageFiles
from bnnlab_vision.source import Dataset, Source, channel_statistics

log = logging.getLogger("bnnlab.vision")  # below `bnnlab`, which the command line shows

InMemory = Literal["auto", "always", "never"]
Corrupt = Literal["refuse", "skip"]

IN_MEMORY_BYTES = 4 * 2**30
"""Up to this many bytes of decoded images are held, unless it is said otherwise."""
STATISTICS_IMAGES = 2000
"""Training images from which mean and standard deviation are measured."""
TEST_FOLDERS = ("test", "val", "validation")
NAMED = 5
"""Corrupt files that an error names."""


class Folder(Source):
    """A folder of images, `CLASS/*`, or `train/CLASS/*` beside `test/CLASS/*`.

    `val` and `validation` stand for `test` where there is none. Classes are sorted by name, and
    images are found as `torchvision.datasets.ImageFolder` finds them; folders whose names begin
    with a dot are no classes. Where there is no test part,
    the seed takes a share of each class for it.

    Args:
        root: The folder.
        image_size: Side of an image in pixels: see `bnnlab_vision.reading.decode`.
        grey: Whether images have one channel in place of three.
        test_share: Share of each class for test, at least one image, where there is no test part.
        in_memory: Whether decoded images are held: `auto` for up to `IN_MEMORY_BYTES`.
        workers: Processes that decode images.
        corrupt: Whether files that cannot be read are refused or skipped.
        class_order: A text file, absolute or in the folder, with the classes' names in their order,
            one in a line; empty for sorted ones.

    Raises:
        DataError: If it is no such folder, has a single class, the test part has other ones, or
            the file of their order has.
    """

    name = "image-folder"

    def __init__(
        self,
        root: Path,
        *,
        image_size: int,
        grey: bool,
        test_share: float,
        in_memory: InMemory,
        workers: int,
        corrupt: Corrupt,
        class_order: str = "",
    ) -> None:
        parted = _holds_folders(root / "train")
        train = root / "train" if parted else root
        tests = [root / name for name in TEST_FOLDERS if _holds_folders(root / name)]
        flat = [root / name for name in TEST_FOLDERS if (root / name).is_dir()]
        if parted and flat and not tests:
            raise DataError(
                f"{flat[0]} must have one folder per class, as {train} has. Without it, a share of "
                f"{train.name} would be tested (test_share)."
            )
        names, samples = _list(train)
        self._first_test = None
        if parted and tests:
            others, more = _list(tests[0])
            if others != names:
                lacks = ", ".join(sorted({*names} - {*others})) or "none"
                besides = ", ".join(sorted({*others} - {*names})) or "none"
                raise DataError(
                    f"{tests[0]} must have the classes of {train}. Missing: {lacks}. "
                    f"Not in {train.name}: {besides}."
                )
            self._first_test = len(samples)
            samples = samples + more
        self._order = _ordered(names, root / expand(class_order)) if class_order else []
        if self._order:
            place = {name: label for label, name in enumerate(self._order)}
            samples = [(file, place[names[label]]) for file, label in samples]
            names = self._order
        self.shape = (1 if grey else 3, image_size, image_size)
        self.classes = len(names)
        self._names, self._root, self._test_share = names, root, test_share
        self._files = [file for file, _ in samples]
        self._labels = torch.tensor([label for _, label in samples])
        self._in_memory, self._workers, self._corrupt = in_memory, workers, corrupt

    def load(self, data: Path, device: torch.device, seed: int) -> Dataset:  # noqa: ARG002
        """Read every file once, so that a corrupt one is known before training.

        The digest is over the names, relative to the folder, and contents of all files used, and
        over the classes in their order if a file says it.
        Normalisation is by `STATISTICS_IMAGES` training images, always the same of equal ones.

        Raises:
            DataError: If files are corrupt and to be refused, or no image of a class is left.
        """
        channels, size, _ = self.shape
        count = len(self._files)
        log.info("reading %d images in %s", count, self._root)
        stored = ImageFiles(
            self._files, size=size, grey=channels == 1, workers=self._workers, device=device
        )
        held = self._in_memory == "always" or (
            self._in_memory == "auto" and count * channels * size**2 <= IN_MEMORY_BYTES
        )
        images = torch.empty((count if held else 0, *self.shape), dtype=torch.uint8)
        digests: list[str] = []
        faults: list[str] = []
        for decoded in stored.decode(torch.split(torch.arange(count), LOOKED_UP_TOGETHER)):
            if held:
                images[len(faults) : len(faults) + len(decoded.faults)] = decoded.images
            digests += decoded.digests
            faults += decoded.faults
        self._report(faults)
        rows = [row for row, fault in enumerate(faults) if not fault]
        good = torch.tensor(rows, dtype=torch.int64)
        learned, tested = (part.to(device) for part in self._divide(good, seed))

        pixels = images.to(device) if held else stored
        unknown = torch.zeros(channels, 1, 1, device=device)
        train = Examples(pixels, self._labels.to(device), learned, unknown, unknown)
        sample = permutation(len(train), 0, "statistics")[:STATISTICS_IMAGES]
        mean, std = channel_statistics(train.raw(sample)[0])
        train = replace(train, mean=mean, std=std)
        facts: dict[str, float] = {"image_size": size, "grey": channels == 1}
        facts["left_out"] = count - len(rows)
        if self._first_test is None:
            facts["test_share"] = self._test_share
        return Dataset(train, replace(train, rows=tested), self._digest(rows, digests), facts)

    def _report(self, faults: Sequence[str]) -> None:
        named = [f"{self._relative(row)} ({fault})" for row, fault in enumerate(faults) if fault]
        if not named:
            return
        what = f"{len(named)} of {len(faults)} images in {self._root} cannot be read: "
        if self._corrupt == "refuse":
            rest = f", and {len(named) - NAMED} more" if len(named) > NAMED else ""
            raise DataError(
                f"{what}{', '.join(named[:NAMED])}{rest}. "
                "Mend or delete them, or leave them out with corrupt=skip."
            )
        log.warning("%s%s. They are left out.", what, ", ".join(named))

    def _divide(self, good: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the rows, among the good ones, of the training part and of the test part."""
        labels = self._labels[good]
        if self._first_test is not None:
            tested = good >= self._first_test
        else:
            tested = torch.zeros(len(good), dtype=torch.bool)
            for label in range(self.classes):
                places = (labels == label).nonzero()[:, 0]
                count = min(max(1, round(self._test_share * len(places))), len(places) - 1)
                order = permutation(len(places), seed, "test", label)
                tested[places[order[: max(0, count)]]] = True
        learned = torch.bincount(labels[~tested], minlength=self.classes)
        if not learned.all():
            name = self._names[int(learned.argmin())]
            raise DataError(f"{self._root} has no image of class {name!r} to learn from.")
        if not tested.any():
            raise DataError(
                f"{self._root} has one image per class, and no test part: "
                "nothing is left to test on."
            )
        return good[~tested], good[tested]

    def _digest(self, rows: Sequence[int], digests: Sequence[str]) -> str:
        found = hashlib.sha256()
        for name, digest in sorted((self._relative(row), digests[row]) for row in rows):
            found.update(f"{name}\0{digest}\n".encode(errors="surrogateescape"))
        for name in self._order:
            found.update(f"{name}\n".encode(errors="surrogateescape"))
        return found.hexdigest()[:16]

    def _relative(self, row: int) -> str:
        return Path(self._files[row]).relative_to(self._root).as_posix()


def _ordered(names: Sequence[str], file: Path) -> list[str]:
    """Return the classes' names as a file lists them."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"class_order: {file} cannot be read: {error}") from error
    listed = [line.strip() for line in lines if line.strip()]
    if sorted(listed) != sorted(names):
        odd = sorted({*names} ^ {*listed}) or ["one of them twice"]
        raise DataError(
            f"class_order: {file} must list each of the {len(names)} classes once; wrong: "
            f"{', '.join(odd[:NAMED])}"
        )
    return listed


def _holds_folders(path: Path) -> bool:
    return path.is_dir() and any(each.is_dir() and _is_seen(each.name) for each in path.iterdir())


def _is_seen(name: str) -> bool:
    return not name.startswith(".")  # what editors and desktops leave is no class


class _Images(ImageFolder):
    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        names = [name for name in super().find_classes(directory)[0] if _is_seen(name)]
        if len(names) < 2:
            raise FileNotFoundError(f"it needs two classes at least, and has {len(names)}.")
        return names, {name: label for label, name in enumerate(names)}


def _list(part: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """Return the names of the classes, and (file, label) of every image, sorted.

    Raises:
        DataError: If there is no class, or one without an image.
    """
    try:
        found = _Images(part)
    except OSError as error:  # its message says what is missing
        raise DataError(f"{part} is no folder of images: {error}") from error
    homes: dict[Path, Path] = {}
    for folder in dict.fromkeys(Path(file).parent for file, _ in found.samples):
        first = homes.setdefault(folder.resolve(), folder)
        if first != folder:
            raise DataError(f"{folder} is {first} again, by a link: remove the link.")
    return found.classes, found.samples
