"""Small data sets, as fixtures."""

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import small_data
from small_data import Arrays

from bnnlab_vision.contracts import emnist as emnist
from bnnlab_vision.contracts import features as features
from bnnlab_vision.contracts import image_folders as image_folders
from bnnlab_vision.contracts import write_images


@pytest.fixture
def write_mnist() -> Callable[..., Arrays]:
    """Return what writes a folder of MNIST."""
    return small_data.write_mnist


@pytest.fixture
def write_cifar10(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Arrays]:
    """Return what writes a folder of CIFAR-10."""
    return lambda folder: small_data.write_cifar10(folder, monkeypatch)


@pytest.fixture
def lay_out(tmp_path: Path) -> Callable[..., Path]:
    """Write images of these classes into these folders of a new folder, and return it."""

    def lay(*folders: str, classes: Iterable[str] = "ab", count: int = 4) -> Path:
        for folder in folders:
            seed = zlib.crc32(folder.encode())
            write_images(tmp_path / "set" / folder, classes, count, seed)
        return tmp_path / "set"

    return lay
