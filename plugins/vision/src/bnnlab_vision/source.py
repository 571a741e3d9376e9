"""A source of images, and the data set that it reads."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.examples import Examples


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set that has been read.

    Attributes:
        train: Its whole training part.
        test: Its whole test part, normalised as the training part is.
        digest: First 16 hexadecimal digits of SHA-256 over its content.
        facts: Further entries of the protocol, in JSON types.
        held: The validation part, if the data have one.
        class_names: A name per class, in the order of the labels; empty if they are only numbers.
        image: If several rows are of one image, such as its crops: the number of the image that
            each row of the training part is of, int64 (N,). Such rows are never divided. None:
            each row is an image.
    """

    train: Examples
    test: Examples
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    held: Examples | None = None
    class_names: Sequence[str] = ()
    image: Tensor | None = None


class Source(ABC):
    """A data set before it is read.

    Attributes:
        name: Its name in the protocol.
        shape: Shape of one input: (C, H, W) of an image, (F,) of features.
        classes: Number of classes.
        label: Word for its classes, in the plural, e.g. "digits".
        white: The largest value that a pixel can have.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    label: str = "classes"
    white: int = 255

    @abstractmethod
    def load(self, data: Path, device: torch.device, seed: int) -> Dataset:
        """Return the data set, with labels, and images that fit into memory, on the device.

        Args:
            data: The data folder.
            device: Device of the inputs.
            seed: Chooses the test part if the data have none.

        Raises:
            DataError: If it is damaged or missing.
        """


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
