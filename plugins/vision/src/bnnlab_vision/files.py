"""Files of published data sets: which they are, how they are read, and how they come."""

import hashlib
import math
import socket
import ssl
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import numpy as np

from bnnlab.errors import DataError, DownloadError

_TIMEOUT = 20.0  # seconds without an answer until a download is given up
_NETWORK = (URLError, ConnectionError, TimeoutError, socket.gaierror, socket.herror, ssl.SSLError)
"""Errors of the network; each other OSError is one of the file system."""
_LOOSE = ("USPS", "SVHN")
"""Classes whose files have no folder of their own: here they get one of their name."""
_KIN = ("MNIST", "FashionMNIST", "KMNIST", "EMNIST")
"""Classes with files of MNIST's format. Those are read here: an import of torchvision takes two
seconds."""

Numbers = np.ndarray[Any, np.dtype[np.uint8]]


class Part(NamedTuple):
    """A part of MNIST or its kin, with torchvision's names.

    Attributes:
        data: Pixels, of shape (N, 28, 28).
        targets: Labels, of shape (N,).
    """

    data: Numbers
    targets: Numbers


@dataclass(frozen=True)
class Reader:
    """How a data set is read: as torchvision does it, and mostly by it.

    Attributes:
        name: A class in torchvision.datasets.
        subset: Which of the subsets of EMNIST.
    """

    name: str
    subset: str = ""

    @property
    def cls(self) -> Any:
        """The class."""
        from torchvision import datasets

        return getattr(datasets, self.name)

    @property
    def is_transposed(self) -> bool:
        """Whether the published images have rows and columns exchanged."""
        return self.name == "EMNIST"

    @property
    def first_label(self) -> int:
        """The smallest published label: 1 of EMNIST's letters."""
        return int(self.subset == "letters")

    def parts(self, data: Path, **options: Any) -> list[Any]:
        """Return the training and the test part of what is in the data folder.

        Args:
            data: The folder.
            options: Of torchvision's class, which then reads all data sets.
        """
        if self.name in _KIN and not options:
            images, labels, *test = (_numbers(data / file) for file in self.files())
            return [Part(images, labels), Part(*test)]
        root = data / self.name if self.name in _LOOSE else data
        if self.name == "SVHN":
            return [self.cls(root, split=part, **options) for part in ("train", "test")]
        if self.subset:
            options["split"] = self.subset
        return [self.cls(root, train=train, **options) for train in (True, False)]

    def labels(self, part: Any) -> Any:
        """Return the labels of a part."""
        return part.labels if self.name == "SVHN" else part.targets

    def files(self, *, every: bool = False) -> list[Path]:
        """Return the files that are read, below the data folder.

        Args:
            every: Also those of other subsets, which come with the same download.
        """
        if self.name in _KIN:
            of_emnist = self.cls.splits if every and self.subset else [self.subset]
            parts = [f"emnist-{each}-{part}" for each in of_emnist for part in ("train", "test")]
            return [
                Path(self.name, "raw", f"{part}-{what}-ubyte")
                for part in (parts if self.subset else ("train", "t10k"))
                for what in ("images-idx3", "labels-idx1")
            ]
        folder = self.name if self.name in _LOOSE else self.cls.base_folder
        return [Path(folder, name) for name in self._sums()]

    def _sums(self) -> dict[str, str]:
        """Return the published MD5 sum of each file, by its name; MNIST and its kin have none."""
        if self.name in _KIN:
            return {}
        cls = self.cls
        if self.name in _LOOSE:
            return dict(cls.split_list[part][1:] for part in ("train", "test"))
        return dict([*cls.train_list, *cls.test_list, (cls.meta["filename"], cls.meta["md5"])])

    def check(self, name: str, files: Sequence[Path]) -> None:
        """Check the files of a data set: their sums, or of MNIST and its kin that they are whole.

        Raises:
            DataError: With the names of those that are not.
        """
        sums = self._sums()
        try:
            damaged = [
                file.name
                for file in files
                if not (_has_sum(file, sums[file.name]) if sums else _is_idx(file))
            ]
        except OSError as error:
            raise DataError(f"{name}: a file cannot be read: {reason(error)}.") from error
        if damaged:
            raise DataError(
                f"{name}: damaged or not whole in {files[0].parent}: {', '.join(damaged)}. "
                "Delete these files to download them again, or put the published ones there."
            )


def _has_sum(file: Path, md5: str | None) -> bool:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, partial(hashlib.md5, usedforsecurity=False))
    return md5 in (None, found.hexdigest())


def _is_idx(file: Path) -> bool:
    """Return whether a file of MNIST's format is whole."""
    begins, sizes = _head(file)
    whole = 4 + 4 * len(sizes) + math.prod(sizes)
    return begins == bytes([0, 0, 8, len(sizes)]) and file.stat().st_size == whole


def _head(file: Path) -> tuple[bytes, list[int]]:
    """Return how a file of MNIST's format begins, and the size of each dimension."""
    dimensions = 3 if "idx3" in file.name else 1
    with file.open("rb") as opened:
        begins, sizes = opened.read(4), opened.read(4 * dimensions)
    return begins, np.frombuffer(sizes.ljust(4 * dimensions, b"\0"), ">u4").tolist()


def _numbers(file: Path) -> Numbers:
    """Return what is in a file of MNIST's format, which is whole."""
    _, sizes = _head(file)
    return np.fromfile(file, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes)


def find(name: str, reader: Reader, data: Path) -> list[Path]:
    """Return the files of the data set `name`, after missing ones were downloaded.

    Raises:
        DataError: If they are missing and the data folder cannot be written.
        DownloadError: If they are missing and cannot be downloaded.
    """
    files = reader.files()
    missing = [file.name for file in files if not (data / file).is_file()]
    if data.exists() and not data.is_dir():
        raise DataError(f"{name}: {data} is a file, and no folder with data.")
    if missing:
        try:
            _fetch(reader, data)
        except Exception as error:  # whatever it is, it is why the data is not there
            is_local = isinstance(error, OSError) and not isinstance(error, _NETWORK)
            what = "they cannot be written" if is_local else "the download failed"
            unpacked = "" if reader.name in _LOOSE else ", unpacked"
            raise (DataError if is_local else DownloadError)(
                f"{name}: files are missing in {data / files[0].parent}; "
                f"{what}: {reason(error)}. "
                f"Put these files there{unpacked}: {', '.join(missing)}."
            ) from error
    return [data / file for file in files]


def _fetch(reader: Reader, data: Path) -> None:
    """Download into a temporary folder, then move missing files; nothing is overwritten."""
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=data) as aside, _quiet_network():
        reader.parts(Path(aside), download=True)
        for file in reader.files(every=True):
            if not (data / file).exists() and Path(aside, file).is_file():
                (data / file).parent.mkdir(parents=True, exist_ok=True)
                Path(aside, file).replace(data / file)


@contextmanager
def _quiet_network() -> Iterator[None]:
    """Set a time limit for answers, and keep torchvision's progress off the standard output."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.setdefaulttimeout(before)


def reason(error: Exception) -> str:
    """Return an error in one line, without a full stop."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
