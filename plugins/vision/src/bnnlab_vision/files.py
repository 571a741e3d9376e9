"""Files of published data sets: which they are, where torchvision reads them, how they come."""

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
from typing import Any
from urllib.error import URLError

from bnnlab.errors import DataError, DownloadError

_TIMEOUT = 20.0  # seconds without an answer until a download is given up
_NETWORK = (URLError, ConnectionError, TimeoutError, socket.gaierror, socket.herror, ssl.SSLError)
"""Errors of the network; each other OSError is one of the file system."""
_LOOSE = ("USPS", "SVHN")
"""Classes whose files have no folder of their own: here they get one of their name."""


@dataclass(frozen=True)
class Reader:
    """How torchvision reads a data set.

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
        """Return the training and the test part that torchvision reads from the data folder."""
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
        cls = self.cls
        if self.subset:
            names = [
                f"emnist-{subset}-{part}-{what}-ubyte"
                for subset in (cls.splits if every else (self.subset,))
                for part in ("train", "test")
                for what in ("images-idx3", "labels-idx1")
            ]
            return [Path(self.name, "raw", name) for name in names]
        if hasattr(cls, "resources"):  # MNIST and its kin
            return [Path(self.name, "raw", Path(name).stem) for name, _ in cls.resources]
        if self.name in _LOOSE:
            return [Path(self.name, name) for name in self._sums()]
        return [Path(cls.base_folder, name) for name in self._sums()]

    def _sums(self) -> dict[str, str]:
        """Return the published MD5 sum of each file, by its name; MNIST and its kin have none."""
        cls = self.cls
        if self.name in _LOOSE:
            return dict(cls.split_list[part][1:] for part in ("train", "test"))
        if not hasattr(cls, "train_list"):
            return {}
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
    """Return whether a file of MNIST's format is whole: its head has the size of each dimension."""
    dimensions = 3 if "idx3" in file.name else 1
    with file.open("rb") as opened:
        head = opened.read(4 + 4 * dimensions)
    sizes = (int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
    whole = 4 + 4 * dimensions + math.prod(sizes)
    return head[:4] == bytes([0, 0, 8, dimensions]) and file.stat().st_size == whole


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
