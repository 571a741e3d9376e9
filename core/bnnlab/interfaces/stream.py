"""The stream interface: data becomes tasks."""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.errors import DataError

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Maps images as stored `(B, C, H, W)` to changed ones; what is random comes from the generator."""

PIECE = 1 << 20
"""Numbers in a piece of inputs that small batches are cut from."""
LOOKED_UP_TOGETHER = 100
"""Stored images in a piece of a single look-up, so that several are read at a time."""


class StoredImages(ABC):
    """Images that are read whenever they are looked up, for those that do not fit into memory.

    Attributes:
        shape: (N, C, H, W).
        digests: Of each image's pixels, where they are known: by them copies are found. Else None.
    """

    shape: tuple[int, ...]
    digests: Sequence[bytes] | None = None

    @abstractmethod
    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images `(B, C, H, W)` of each piece of rows `(B,)`, in order, on the device.

        The next pieces are read while one is in use.
        """

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return the images `(B, C, H, W)` of rows `(B,)`."""
        return torch.cat(list(self.read(torch.split(rows, LOOKED_UP_TOGETHER))))


@dataclass(frozen=True, eq=False)
class Examples:
    """A part of a data set: images as stored, turned into inputs batch by batch.

    Attributes:
        pixels: uint8, or float32 where that is what the data are, of shape (N, C, H, W), on the
            device or stored; shared by all tasks that are cut from one data set.
        labels: int64 of shape (N,), on the device.
        rows: int64 of shape (M,): which of the N belong to this part, in order.
        mean: Per channel, in units of a pixel, shape (C, 1, 1).
        std: Per channel, in units of a pixel, shape (C, 1, 1).
        permutation: int64 of shape (C*H*W,): input i is pixel permutation[i]; None for none.
        augment: What training changes in images anew each time; None for nothing.
    """

    pixels: Tensor | StoredImages
    labels: Tensor
    rows: Tensor
    mean: Tensor
    std: Tensor
    permutation: Tensor | None = None
    augment: Augmentation | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return (pixels as stored (B, C, H, W), labels (B,)) at these positions of the part."""
        rows = self.rows[positions.to(self.rows.device)]
        return self._permute(self._look_up(rows)), self.labels[rows]

    def batch(
        self, positions: Tensor, draws: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (inputs float32 (B, C, H, W), targets (B,)).

        Images are augmented if `draws`, a generator on the CPU, is given; pixels are then
        normalised by their own channel, and permuted across all.
        """
        rows = self.rows[positions.to(self.rows.device)]
        return self._inputs(self._look_up(rows), draws), self.labels[rows]

    def batches(
        self,
        size: int,
        order: Tensor | None = None,
        draws: torch.Generator | None = None,
        first: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of `size`, in `order` (positions) or as they lie; `draws` as in `batch`.

        A last batch of one example is joined to the one before: batch statistics need two.

        Batches are augmented piece by piece. To leave out the `first` of them, `draws` must be as
        it was before the piece that the last of these is cut from.
        """
        rows = self.rows if order is None else self.rows[order.to(self.rows.device)]
        sizes = [min(size, len(rows) - start) for start in range(0, len(rows), size)]
        if len(sizes) > 1 and size > 1 == sizes[-1]:
            sizes[-2:] = [size + 1]
        # Small batches are cut from a larger piece that is looked up and normalised at once.
        together = max(1, PIECE // (size * math.prod(self.pixels.shape[1:])))
        groups = [sizes[start : start + together] for start in range(0, len(sizes), together)]
        begun = max(0, first - 1) // together
        pieces = torch.split(rows, [sum(group) for group in groups])[begun:]
        first -= begun * together
        for group, piece, images in zip(groups[begun:], pieces, self._read(pieces), strict=True):
            inputs, targets = self._inputs(images, draws), self.labels[piece]
            cut = zip(torch.split(inputs, group), torch.split(targets, group), strict=True)
            yield from islice(cut, first, None)
            first = 0

    def count_batches(self, size: int) -> int:
        """Return how many batches `batches` yields of the whole part."""
        full, rest = divmod(len(self), size)
        joined = rest == 1 and size > 1 and full > 0
        return full + (rest > 0) - joined

    def _look_up(self, rows: Tensor) -> Tensor:
        if isinstance(self.pixels, StoredImages):
            return _finite(rows, self.pixels[rows])
        return self.pixels.index_select(0, rows)  # far faster on the CPU than pixels[rows]

    def _read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        if isinstance(self.pixels, StoredImages):
            return map(_finite, pieces, self.pixels.read(pieces))
        return map(self._look_up, pieces)

    def _inputs(self, images: Tensor, draws: torch.Generator | None) -> Tensor:
        if self.augment is not None and draws is not None:
            images = self.augment(images, draws)
        inputs = images.to(torch.float32, copy=True)  # one copy, changed in place
        return self._permute(inputs.sub_(self.mean).div_(self.std))

    def _permute(self, images: Tensor) -> Tensor:
        if self.permutation is None:
            return images
        return images.flatten(1).index_select(1, self.permutation).view_as(images)


def _finite(rows: Tensor, images: Tensor) -> Tensor:
    """Return stored images as they are; those of floats are seen to be finite at each reading.

    Raises:
        DataError: If they are not.
    """
    if images.is_floating_point() and not all(map(math.isfinite, torch.aminmax(images))):
        bad = rows[~images.isfinite().flatten(1).all(1).to(rows.device)]
        raise DataError(f"stored images hold pixels that are not finite: row {int(bad[0])} first")
    return images


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
        """Return examples that belong to no task, for a score of how well they are told apart.

        They have the tasks' shape and type of pixels, and labels among the classes, which mean
        nothing. Asked once in a run, after the tasks.
        """
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
