"""A data set made ready for tasks: normalised, and parted into train, held out and test."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.seeds import permutation
from bnnlab.stream import Examples, Task
from bnnlab_vision.datasets import find_source, load


def channel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (mean, std), float32 of shape (C, 1, 1), of uint8 pixels of shape (N, C, H, W).

    With n_v pixels of value v in a channel, N = Σ n_v: mean = Σ n_v v / N and
    std = √(N Σ n_v v² - (Σ n_v v)²) / N, in integers up to the root and the quotients, so that
    they are the same on every machine. A channel of one value has std 1.
    """
    means, stds = [], []
    for channel in pixels.unbind(1):
        counts = torch.bincount(channel.flatten(), minlength=256).tolist()
        total = sum(counts)
        first = sum(count * value for value, count in enumerate(counts))
        second = sum(count * value**2 for value, count in enumerate(counts))
        means.append(first / total)
        stds.append(math.sqrt(total * second - first**2) / total or 1.0)
    shape = (-1, 1, 1)
    return (
        torch.tensor(means, dtype=torch.float32, device=pixels.device).view(shape),
        torch.tensor(stds, dtype=torch.float32, device=pixels.device).view(shape),
    )


def _same(examples: Examples) -> Examples:
    return examples


class Prepared:
    """A data set whose training part is divided into what is learned from and what is held out.

    Attributes:
        name: Of the data set.
        shape: Of one image, (C, H, W).
        classes: Number of classes.
        train: What is learned from, in published order.
        held: What is held out of the training part, chosen by the seed; may be empty.
        test: The whole test part.
    """

    def __init__(
        self, name: str, *, data: Path, device: torch.device, seed: int, validation: float
    ) -> None:
        if not 0 <= validation < 1:
            raise UsageError(f"validation: {validation!r} must be at least 0 and below 1.")
        self.name = name
        self.shape = find_source(name).shape
        dataset = load(name, data, device)
        self.classes = dataset.classes
        self._digest = dataset.digest
        mean, std = channel_statistics(dataset.train_pixels)

        count = len(dataset.train_labels)
        held = min(round(validation * count), count - 1)
        order = permutation(count, seed, "validation", name).to(device)

        def of_train(rows: Tensor) -> Examples:
            return Examples(dataset.train_pixels, dataset.train_labels, rows, mean, std)

        self.held = of_train(order[:held].sort().values)
        self.train = of_train(order[held:].sort().values)
        every = torch.arange(len(dataset.test_labels), device=device)
        self.test = Examples(dataset.test_pixels, dataset.test_labels, every, mean, std)

    def task(
        self,
        index: int,
        name: str,
        change: Callable[[Examples], Examples] = _same,
        classes: Tensor | None = None,
    ) -> Task:
        """Return a task whose three parts are those of the data set, each changed by `change`."""
        held = change(self.held)
        return Task(
            index,
            name,
            train=change(self.train),
            test=change(self.test),
            validation=held if len(held) else None,
            classes=classes,
        )

    def describe(self) -> dict[str, Any]:
        """Return name, digest of the content and sizes, in JSON types."""
        return {
            "name": self.name,
            "digest": self._digest,
            "train": len(self.train),
            "validation": len(self.held),
            "test": len(self.test),
        }
