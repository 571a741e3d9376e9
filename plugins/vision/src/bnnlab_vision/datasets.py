"""Published data sets, as torchvision has them; damaged files are refused."""

import hashlib
import string
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnnlab.errors import DataError, UsageError, did_you_mean
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.keeping import kept
from bnnlab_vision.files import Reader, find, reason
from bnnlab_vision.source import Dataset, Source, channel_statistics


@dataclass(frozen=True)
class Published(Source):
    """A published data set; see `Source`.

    Attributes:
        name: Its name.
        shape: Shape of one image, (C, H, W).
        classes: Number of classes.
        label: Word for its classes, in the plural, e.g. "digits".
        white: The largest value that a pixel can have.
        reader: How it is read; None for scikit-learn's digits.
        names: Names of its classes; empty for digits, and where its files have them.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    label: str = "classes"
    white: int = 255
    reader: Reader | None = None
    names: Sequence[str] = ()

    def load(self, data: Path, device: torch.device, seed: int) -> Dataset:  # noqa: ARG002
        """Read it from the folder `data`. Missing files are downloaded into it.

        `digits` comes with scikit-learn and needs no folder. The digest is over the pixels and
        labels of the training part, then of the test part.

        Raises:
            DataError: If it is damaged, or missing and the data folder cannot be written.
            DownloadError: If it is missing and cannot be downloaded.
        """
        files = find(self.name, self.reader, data) if self.reader else []
        return _load(self, str(data), files, device)


_CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_MERGED = "".join(each for each in _CHARACTERS if each not in "cijklmopsuvwxyz")
EMNIST = {
    "byclass": (_CHARACTERS, "characters"),
    "bymerge": (_MERGED, "characters"),
    "balanced": (_MERGED, "characters"),
    "letters": (string.ascii_lowercase, "letters"),
    "digits": (string.digits, "digits"),
    "mnist": (string.digits, "digits"),
}
"""Per published subset of EMNIST: the names of its classes, and the word for them."""
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

_PUBLISHED = (
    Published("digits", (1, 8, 8), 10, label="digits", white=16),
    Published("mnist", (1, 28, 28), 10, label="digits", reader=Reader("MNIST")),
    Published("fashion-mnist", (1, 28, 28), 10, reader=Reader("FashionMNIST"), names=FASHION),
    Published("kmnist", (1, 28, 28), 10, reader=Reader("KMNIST"), names=KUZUSHIJI),
    *(
        Published(
            f"emnist-{subset}",
            (1, 28, 28),
            len(names),
            word,
            reader=Reader("EMNIST", subset),
            names=() if word == "digits" else tuple(names),
        )
        for subset, (names, word) in EMNIST.items()
    ),
    Published("usps", (1, 16, 16), 10, label="digits", reader=Reader("USPS")),
    Published("svhn", (3, 32, 32), 10, label="digits", reader=Reader("SVHN")),
    Published("cifar10", (3, 32, 32), 10, reader=Reader("CIFAR10")),
    Published("cifar100", (3, 32, 32), 100, reader=Reader("CIFAR100")),
)
SOURCES = {source.name: source for source in _PUBLISHED}


def find_source(source: str | Source) -> Source:
    """Return the published data set with a name; a source is returned unchanged.

    Raises:
        UsageError: If there is none of this name.
    """
    if isinstance(source, Source):
        return source
    if source not in SOURCES:
        raise UsageError(
            f"unknown data set {source!r}.{did_you_mean(source, SOURCES)} "
            f"Known: {', '.join(SOURCES)}."
        )
    return SOURCES[source]


@kept
def _load(source: Published, data: str, files: list[Path], device: torch.device) -> Dataset:
    """Return a data set that is read from these files in the folder `data`."""
    parts, names = _read(source, data, files) if files else (_read_digits(), [])
    digest = hashlib.sha256()
    for tensor in parts:
        array = tensor.contiguous().numpy()
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    pixels, labels, *test = (part.to(device) for part in parts)
    mean, std = channel_statistics(pixels)

    turned = source.reader is not None and source.reader.is_transposed
    said = ("rows and columns of the published images exchanged",) if turned else ()

    def whole(pixels: Tensor, labels: Tensor) -> Examples:
        rows = torch.arange(len(labels), device=device)
        return Examples(pixels, labels, rows, mean, std, prepared=said)

    known = digest.hexdigest()[:16]
    return Dataset(whole(pixels, labels), whole(*test), known, class_names=names)


def _read_digits() -> list[Tensor]:
    """Return pixels, values 0..16, and labels of 1437 training and 360 test images.

    No split is published. The first 1437 of `RandomState(0).permutation(1797)` are for training.
    """
    images, target = _parsed_digits()
    order = np.random.RandomState(0).permutation(len(target))
    pixels = torch.from_numpy(images[order]).unsqueeze(1)  # a copy: who writes to it has his own
    labels = torch.from_numpy(target[order])
    return [pixels[:1437], labels[:1437], pixels[1437:], labels[1437:]]


@cache
def _parsed_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels; scikit-learn would parse its text again for every stream.

    Its file is read, and scikit-learn imported only where its file is elsewhere: that takes a
    second.
    """
    package = find_spec("sklearn")
    file = Path((package and package.origin) or "").parent / "datasets/data/digits.csv.gz"
    if file.exists():
        rows = np.loadtxt(file, np.uint8, delimiter=",")
        images, target = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
    else:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images, target = bunch.images, bunch.target
    return images.astype(np.uint8), target.astype(np.int64)


def _read(source: Published, data: str, files: list[Path]) -> tuple[list[Tensor], list[str]]:
    """Return what is read from these files in `data`, and the names of the classes.

    The tensors are training and test pixels and labels. Digits have no names.
    """
    assert source.reader is not None
    source.reader.check(source.name, files)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2.4.0 to 2.4.4 warn of CIFAR's old pickles
            parts = source.reader.parts(Path(data))
        named = bool(source.names) or source.label == "digits"
        names = source.names if named else parts[0].classes
        return [tensor for part in parts for tensor in _check(part, source)], [*names]
    except Exception as error:  # a damaged file breaks a parser in any way
        raise DataError(
            f"{source.name}: the files in {files[0].parent} are damaged: {reason(error)}. "
            "Delete this folder to download it again."
        ) from error


def _check(part: Any, source: Published) -> tuple[Tensor, Tensor]:
    """Return the pixels (N, C, H, W) and labels (N,) of one of torchvision's data sets.

    Raises:
        ValueError: If they are not what the data set is known to be.
    """
    assert source.reader is not None
    pixels = torch.as_tensor(part.data)
    if pixels.ndim == 3:
        pixels = pixels.unsqueeze(1)
    elif pixels.shape[1:] != source.shape:  # the channel is the last dimension
        pixels = pixels.permute(0, 3, 1, 2)
    if source.reader.is_transposed:
        pixels = pixels.transpose(2, 3)
    labels = torch.as_tensor(source.reader.labels(part), dtype=torch.int64)
    labels = labels - source.reader.first_label
    if pixels.shape[1:] != source.shape or pixels.dtype != torch.uint8:
        raise ValueError(f"images are {tuple(pixels.shape[1:])} of {pixels.dtype}")
    if len(pixels) != len(labels):
        raise ValueError(f"{len(pixels)} images but {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= source.classes:
        raise ValueError(f"labels beyond 0 to {source.classes - 1}")
    return pixels.contiguous(), labels
