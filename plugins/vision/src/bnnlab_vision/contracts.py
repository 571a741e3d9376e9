"""What the contracts of the test kit are told of what this plugin offers."""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnnlab_testing import CommandContract, StreamContract
from bnnlab_vision.datasets import EMNIST


def write_images(
    folder: Path, classes: Iterable[str] = "abcd", count: int = 6, seed: int = 0
) -> None:
    """Write `folder`/CLASS/0.png, ..., of unequal sizes: noise around a shade of each class."""
    classes = list(classes)
    random = np.random.RandomState(seed)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            height, width = random.randint(8, 20, 2)
            shade = random.randint(0, 60, (height, width, 3)) + 190 * number // len(classes)
            image = Image.fromarray(shade.astype(np.uint8))
            image.save(folder / name / f"{index}.png")


@pytest.fixture(scope="session")
def image_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with `parted`, which has a test part, and `whole`, which has none."""
    data = tmp_path_factory.mktemp("data")
    write_images(data / "parted" / "train")
    write_images(data / "parted" / "val", count=3, seed=1)
    write_images(data / "whole", count=10, seed=2)
    return data


def idx(array: np.ndarray) -> bytes:
    """Return a file of MNIST with this content."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_emnist(data: Path) -> None:
    """Write small subsets of EMNIST, of noise, into a data folder."""
    raw, random = data / "EMNIST" / "raw", np.random.RandomState(0)
    raw.mkdir(parents=True)
    for subset, (names, _) in EMNIST.items():
        for part in ("train", "test"):
            labels = np.arange(2 * len(names)) % len(names) + (subset == "letters")
            images = random.randint(0, 256, (len(labels), 28, 28))
            stem = f"emnist-{subset}-{part}"
            (raw / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
            (raw / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))


def write_features(file: Path, classes: int = 4) -> None:
    """Write a file of features, of noise."""
    random, labels = np.random.RandomState(0), np.arange(10 * classes) % classes
    x, test_x = random.normal(size=(2, len(labels), 5))
    np.savez(file, train_x=x, train_y=labels, test_x=test_x, test_y=labels)


@pytest.fixture(scope="session")
def emnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with EMNIST."""
    data = tmp_path_factory.mktemp("data")
    write_emnist(data)
    return data


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with a file of features."""
    data = tmp_path_factory.mktemp("data")
    write_features(data / "features.npz")
    return data


class TestPermutedDigits(StreamContract):
    name = "permuted-digits"
    options = {"tasks": 3, "validation": 0.1}


class TestSplitDigits(StreamContract):
    name = "split-digits"


class TestSplitDigitsOfSomeClasses(StreamContract):
    name = "split-digits"
    options = {
        "labels": [7, 1, 4, 0],
        "tasks": 2,
        "labelled": 0.5,
        "label_noise": 0.2,
        "validation": 0.1,
    }


class TestRotatedDigits(StreamContract):
    name = "rotated-digits"
    options = {"tasks": 2, "side": 10}


class TestSplitEmnist(StreamContract):
    name = "split-emnist"
    options = {"subset": "letters", "order": "seed"}

    @pytest.fixture(autouse=True)
    def find_emnist(self, emnist: Path) -> None:
        self.data = str(emnist)


class TestSplitFeatures(StreamContract):
    name = "split-features"
    options = {"file": "features.npz", "tasks": 2, "validation": 0.2}

    @pytest.fixture(autouse=True)
    def find_features(self, features: Path) -> None:
        self.data = str(features)


class TestExtractFeatures(CommandContract):
    name = "extract-features"


class TestSplitDigitsWithTaskIds(StreamContract):
    name = "split-digits"
    options = {"incremental": "task", "validation": 0.2}


class TestChunkedDigits(StreamContract):
    name = "chunked-digits"
    options = {"augment": "imagenet", "normalise": False}
    waits = 5  # for what is drawn, once for many batches


class TestDigits(StreamContract):
    name = "digits"
    options = {"augment": "cifar-edge", "validation": 0.1}
    waits = 3


class TestSequence(StreamContract):
    name = "sequence"
    options = {"datasets": ["digits"], "task_ids": True}


class FolderContract(StreamContract):
    without_effect = {
        "exif": "no image here is turned",
        "in_memory": "it saves memory",
        "workers": "it saves time",
        "corrupt": "each file can be read",
        "copies": "there are none",
    }

    @pytest.fixture(autouse=True)
    def find_folders(self, image_folders: Path) -> None:
        self.data = str(image_folders)


class PartedContract(FolderContract):
    without_effect = {**FolderContract.without_effect, "test_share": "there is a test part"}


class TestImageFolder(PartedContract):
    name = "image-folder"
    options = {"folder": "parted", "image_size": 8, "workers": 0, "augment": "cifar"}
    waits = 3


class TestPermutedImageFolder(FolderContract):
    name = "permuted-image-folder"
    options = {"folder": "whole", "image_size": 8, "workers": 0, "tasks": 2, "validation": 0.1}


class TestSplitImageFolder(FolderContract):
    name = "split-image-folder"
    options = {
        "folder": "whole",
        "image_size": 8,
        "workers": 0,
        "tasks": 2,
        "incremental": "task",
        "in_memory": "never",
        "augment": "imagenet",
    }
    waits = 8  # three for the images, once for many batches too


class TestImgNet5(PartedContract):
    name = "imgnet-5"
    options = {"folder": "parted", "image_size": 8, "workers": 0, "tasks": 2}

    @pytest.fixture(autouse=True)
    def order(self, image_folders: Path) -> None:
        (image_folders / "parted" / "wnids.txt").write_text("b\nd\na\nc\n")


class TestChunkedImageFolder(PartedContract):
    name = "chunked-image-folder"
    options = {"folder": "parted", "image_size": 8, "workers": 0, "tasks": 3, "grey": True}
