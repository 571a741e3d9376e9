"""Small data sets in the published formats; no test needs the network."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from bnnlab_vision.contracts import idx

Arrays = list[np.ndarray]  # train pixels (N, H, W) or (N, 3072), train labels, test ..., test ...


def write_mnist(folder: Path, name: str = "MNIST", seed: int = 0) -> Arrays:
    """Write `folder`/`name`/raw with 40 training and 20 test images; return what was written."""
    random = np.random.RandomState(seed)
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    arrays = []
    for part, count in (("train", 40), ("t10k", 20)):
        images = random.randint(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
        arrays += [images, labels]
    return arrays


def write_cifar10(folder: Path, patch: pytest.MonkeyPatch) -> Arrays:
    """Write a CIFAR-10 folder of two training batches, and make torchvision expect it."""
    random = np.random.RandomState(0)
    base = folder / "cifar-10-batches-py"
    base.mkdir(parents=True)

    def dump(name: str, content: dict[str, object]) -> list[str]:
        data = pickle.dumps(content)
        (base / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def batch(name: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        pixels = random.randint(0, 256, (10, 3072)).astype(np.uint8)
        labels = random.permutation(10)
        return dump(name, {"data": pixels, "labels": labels.tolist()}), pixels, labels

    (one, x1, y1), (two, x2, y2), (test, x3, y3) = map(batch, ("one", "two", "test"))
    meta, md5 = dump("meta", {"label_names": [str(label) for label in range(10)]})
    patch.setattr(datasets.CIFAR10, "train_list", [one, two])
    patch.setattr(datasets.CIFAR10, "test_list", [test])
    patch.setattr(datasets.CIFAR10, "meta", {"filename": meta, "key": "label_names", "md5": md5})
    return [np.concatenate([x1, x2]), np.concatenate([y1, y2]), x3, y3]
