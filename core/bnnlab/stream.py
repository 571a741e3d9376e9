"""The stream interface: data becomes tasks."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 1 << 20
"""Numbers in a piece of inputs that small batches are cut from."""


@dataclass(frozen=True, eq=False)
class Examples:
    """A part of a data set: images as stored, on the device, turned into inputs batch by batch.

    Attributes:
        pixels: uint8, or float32 where that is what the data are, of shape (N, C, H, W); shared by
            all tasks that are cut from one data set.
        labels: int64 of shape (N,).
        rows: int64 of shape (M,): which of the N belong to this part, in order.
        mean: Per channel, in units of a pixel, shape (C, 1, 1).
        std: Per channel, in units of a pixel, shape (C, 1, 1).
        permutation: int64 of shape (C*H*W,): input i is pixel permutation[i]; None for none.
    """

    pixels: Tensor
    labels: Tensor
    rows: Tensor
    mean: Tensor
    std: Tensor
    permutation: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return (pixels as stored (B, C, H, W), labels (B,)) at these positions of the part."""
        rows = self.rows[positions.to(self.rows.device)]
        return self._permute(self.pixels[rows]), self.labels[rows]

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return (inputs float32 (B, C, H, W), targets (B,)).

        Pixels are normalised by their own channel, then permuted across all.
        """
        rows = self.rows[positions.to(self.rows.device)]
        inputs = (self.pixels[rows].float() - self.mean) / self.std
        return self._permute(inputs), self.labels[rows]

    def _permute(self, images: Tensor) -> Tensor:
        if self.permutation is None:
            return images
        return images.flatten(1).index_select(1, self.permutation).view_as(images)

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of `size`, in `order` (positions) or as they lie.

        A last batch of one example is joined to the one before: batch statistics need two.
        """
        if order is None:
            order = torch.arange(len(self))
        order = order.to(self.rows.device)
        count = self.count_batches(size)
        # Small batches are cut from a larger piece that is looked up and normalised at once.
        together = max(1, PIECE // (size * self.pixels[0].numel()))
        for first in range(0, count, together):
            last = min(first + together, count)
            stop = len(order) if last == count else last * size
            inputs, targets = self.batch(order[first * size : stop])
            sizes = [size] * (last - first - 1)
            sizes.append(len(targets) - sum(sizes))
            yield from zip(torch.split(inputs, sizes), torch.split(targets, sizes), strict=True)

    def count_batches(self, size: int) -> int:
        """Return how many batches `batches` yields."""
        full, rest = divmod(len(self), size)
        joined = rest == 1 and size > 1 and full > 0
        return full + (rest > 0) - joined


@dataclass(frozen=True, eq=False)
class Task:
    """One task of a stream.

    Attributes:
        index: Place in the stream, from 0.
        name: For people.
        train: What is learned from.
        test: What is scored; never used to choose anything.
        validation: Held out of the training data, or None.
        classes: bool of shape (K,): the classes among which the task is told to choose
            (task-incremental); None for all.
    """

    index: int
    name: str
    train: Examples
    test: Examples
    validation: Examples | None = None
    classes: Tensor | None = None

    def mask(self, logits: Tensor) -> Tensor:
        """Return the logits `(..., K)` with those of other tasks' classes at minus infinity."""
        if self.classes is None:
            return logits
        return logits.masked_fill(~self.classes, -torch.inf)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy over the classes that the task chooses among."""
        return F.cross_entropy(self.mask(logits), targets)


class TaskStream(ABC):
    """A sequence of tasks, made when they are asked for.

    Attributes:
        input_shape: Shape of one input, `(C, H, W)`.
        classes: Number of logits K.
        gives_task_ids: Whether the model may be told the task at test.
    """

    input_shape: tuple[int, ...]
    classes: int
    gives_task_ids: bool = False

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of tasks."""

    @abstractmethod
    def __getitem__(self, index: int) -> Task:
        """Return a task, the same at every call.

        Raises:
            IndexError: Past the last task.
        """

    def out_of_distribution(self) -> Examples | None:
        """Return examples that belong to no task, for a score of how well they are told apart."""
        return None

    def __iter__(self) -> Iterator[Task]:
        return (self[index] for index in range(len(self)))

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """Describe, in JSON types, what is learned from, in which order, and how it is split.

        The data by a digest of its content; the root seed is left out, because runs that differ
        only in it are repetitions of one protocol.
        """


def protocol_hash(protocol: dict[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of SHA-256 over the description's canonical JSON."""
    text = json.dumps(protocol, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
