"""Read published data sets, download missing files, refuse damaged ones."""

import hashlib
import socket
import ssl
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor

from bnnlab.errors import DataError, DownloadError, UsageError, did_you_mean
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.keeping import kept
from bnnlab_vision.source import Dataset, Source, channel_statistics

_TIMEOUT = 20.0  # seconds without an answer until a download is given up
_NETWORK = (URLError, ConnectionError, TimeoutError, socket.gaierror, socket.herror, ssl.SSLError)
"""Errors of the network; each other OSError is one of the file system."""


@dataclass(frozen=True)
class Published(Source):
    """A published data set; see `Source`.

    Attributes:
        name: Its name.
        shape: Shape of one image, (C, H, W).
        classes: Number of classes.
        label: Word for its classes, in the plural, e.g. "digits".
        white: The largest value that a pixel can have.
        reader: Its class in torchvision.datasets; empty for scikit-learn's digits.
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    label: str = "classes"
    white: int = 255
    reader: str = ""

    def load(self, data: Path, device: torch.device, seed: int) -> Dataset:  # noqa: ARG002
        """Read it from the folder `data`. Missing files are downloaded into it.

        `digits` comes with scikit-learn and needs no folder. The digest is over the pixels and
        labels of the training part, then of the test part.

        Raises:
            DataError: If it is damaged, or missing and the data folder cannot be written.
            DownloadError: If it is missing and cannot be downloaded.
        """
        files = _find(self, data) if self.reader else []
        return _load(self, str(data), files, device)


_PUBLISHED = (
    Published("digits", (1, 8, 8), 10, label="digits", white=16),
    Published("mnist", (1, 28, 28), 10, label="digits", reader="MNIST"),
    Published("fashion-mnist", (1, 28, 28), 10, reader="FashionMNIST"),
    Published("cifar10", (3, 32, 32), 10, reader="CIFAR10"),
    Published("cifar100", (3, 32, 32), 100, reader="CIFAR100"),
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
    parts, names = _read(source, data, files[0].parent) if files else (_read_digits(), [])
    digest = hashlib.sha256()
    for tensor in parts:
        array = tensor.contiguous().numpy()
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    pixels, labels, *test = (part.to(device) for part in parts)
    mean, std = channel_statistics(pixels)

    def whole(pixels: Tensor, labels: Tensor) -> Examples:
        return Examples(pixels, labels, torch.arange(len(labels), device=device), mean, std)

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
    """Return images and labels; scikit-learn would parse its text again for every stream."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int64)


def _find(source: Published, data: Path) -> list[Path]:
    """Return the files of a data set, after missing ones were downloaded."""
    from torchvision import datasets

    reader = getattr(datasets, source.reader)
    files = _list_files(reader)
    missing = [file.name for file in files if not (data / file).is_file()]
    if data.exists() and not data.is_dir():
        raise DataError(f"{source.name}: {data} is a file, and no folder with data.")
    if missing:
        try:
            _fetch(reader, data, files)
        except Exception as error:  # whatever it is, it is why the data is not there
            is_local = isinstance(error, OSError) and not isinstance(error, _NETWORK)
            what = "they cannot be written" if is_local else "the download failed"
            raise (DataError if is_local else DownloadError)(
                f"{source.name}: files are missing in {data / files[0].parent}; "
                f"{what}: {_reason(error)}. "
                f"Put these files there, unpacked: {', '.join(missing)}."
            ) from error
    return [data / file for file in files]


def _read(source: Published, data: str, folder: Path) -> tuple[list[Tensor], list[str]]:
    """Return what torchvision reads from a folder in `data`, and the names of the classes.

    The tensors are training and test pixels and labels. Digits have no names.
    """
    from torchvision import datasets

    reader = getattr(datasets, source.reader)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy 2.4.0 to 2.4.4 warn of CIFAR's old pickles
            parts = [reader(data, train=train) for train in (True, False)]
        names = [] if source.label == "digits" else [*parts[0].classes]
        return [tensor for part in parts for tensor in _check(part, source)], names
    except Exception as error:  # a damaged file breaks a parser in any way
        raise DataError(
            f"{source.name}: the files in {folder} are damaged: {_reason(error)}. "
            "Delete this folder to download it again."
        ) from error


def _list_files(reader: Any) -> list[Path]:
    """Return the files that a torchvision class reads, relative to its root."""
    if hasattr(reader, "resources"):  # MNIST and its kin
        folder = Path(reader.__name__, "raw")
        return [folder / Path(name).stem for name, _ in reader.resources]
    names = [name for name, _ in (*reader.train_list, *reader.test_list)]
    return [Path(reader.base_folder, name) for name in (*names, reader.meta["filename"])]


def _fetch(reader: Any, data: Path, files: list[Path]) -> None:
    """Download into a temporary folder, then move missing files; nothing is overwritten."""
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=data) as aside, _quiet_network():
        reader(aside, download=True)
        for file in files:
            if not (data / file).exists():
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


def _check(part: Any, source: Published) -> tuple[Tensor, Tensor]:
    """Return the pixels (N, C, H, W) and labels (N,) of one of torchvision's data sets.

    Raises:
        ValueError: If they are not what the data set is known to be.
    """
    pixels = torch.as_tensor(part.data)
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    labels = torch.as_tensor(part.targets, dtype=torch.int64)
    if pixels.shape[1:] != source.shape or pixels.dtype != torch.uint8:
        raise ValueError(f"images are {tuple(pixels.shape[1:])} of {pixels.dtype}")
    if len(pixels) != len(labels):
        raise ValueError(f"{len(pixels)} images but {len(labels)} labels")
    if labels.min() < 0 or labels.max() >= source.classes:
        raise ValueError(f"labels beyond 0 to {source.classes - 1}")
    return pixels, labels


def _reason(error: Exception) -> str:
    """Return an error in one line, without a full stop."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
