"""Examples: stored data, such as images, that become batches of inputs and targets."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnnlab.deprecation import warn_of_name
from bnnlab.errors import DataError

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Maps images as stored `(B, C, H, W)` to augmented ones, with the generator's random numbers."""

PIECE = 1 << 20
"""Numbers in a piece of inputs. Small batches are cut from a piece."""
LOOKED_UP_TOGETHER = 100
"""Stored images per piece when rows are looked up: pieces are read in parallel."""


class StoredImages(ABC):
    """Images on disk, read at every look-up: for data that do not fit into memory.

    Attributes:
        shape: (N, C, H, W).
        digests: A digest of each image's pixels, to find copies; None if unknown.
    """

    shape: tuple[int, ...]
    digests: Sequence[bytes] | None = None

    @abstractmethod
    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images `(B, C, H, W)` of each piece of rows `(B,)`, in order, on the device.

        While a piece is in use, the next ones are read.
        """

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return the images `(B, C, H, W)` of rows `(B,)`."""
        return torch.cat(list(self.read(torch.split(rows, LOOKED_UP_TOGETHER))))


@dataclass(frozen=True, eq=False)
class Examples:
    """A part of a data set, turned into inputs batch by batch.

    Attributes:
        pixels: The data of N inputs, whatever these are, on the device or on disk: numbers, uint8
            or float32, `(N, C, H, W)` of images, `(N, F)`, `(N, T, C)`; or token ids, int64
            `(N, T)`. All tasks of a data set share them.
        labels: The targets, on the device, as the task's objective says: int64 `(N,)` of classes.
        rows: int64 of shape (M,): the rows of this part among the N, in order.
        mean: What is subtracted from the pixels, such as the mean of each channel, of a shape that
            fits `(C, H, W)`, `(C, 1, 1)`; None for nothing, as of token ids.
        std: What they are divided by then, in the same way; None for nothing.
        permutation: int64 of shape (C*H*W,): input i is pixel permutation[i]; None for none.
        augment: The random augmentation of training images; None for none.
        in_order: Whether they are learned in the order of `rows`, in every epoch: their order says
            something, as in a stream that changes slowly. Otherwise each epoch has its own order.
        prepared: What was done to the data as published before they were `pixels`, in words and in
            order, such as `turned by 30 degrees`; empty for nothing. An exported model says it.
    """

    pixels: Tensor | StoredImages
    labels: Tensor
    rows: Tensor
    mean: Tensor | None = None
    std: Tensor | None = None
    permutation: Tensor | None = None
    augment: Augmentation | None = None
    in_order: bool = False
    prepared: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return examples without augmentation and normalisation.

        Args:
            positions: int64 of shape (B,), in 0..M-1.

        Returns:
            The pixels as stored, `(B, ...)`, permuted; and the labels `(B, ...)`.
        """
        rows = self.rows[positions.to(self.rows.device)]
        return self._permute(self._look_up(rows)), self.labels[rows]

    def batch(
        self,
        positions: Tensor,
        generator: torch.Generator | None = None,
        *,
        draws: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return one batch: inputs float32 `(B, ...)`, or token ids int64, and targets `(B, ...)`.

        The images are augmented, each channel is normalised, and the pixels are permuted.

        Args:
            positions: int64 of shape (B,), in 0..M-1.
            generator: Source of the augmentation's random numbers, on the CPU; None: none are
                augmented.
            draws: The earlier name of `generator`.
        """
        rows = self.rows[positions.to(self.rows.device)]
        return self._inputs(self._look_up(rows), _one_of(generator, draws)), self.labels[rows]

    def batches(
        self,
        size: int,
        order: Tensor | None = None,
        generator: torch.Generator | None = None,
        first: int = 0,
        *,
        draws: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of `size` examples, as `batch` returns them.

        If one example is left at the end, the last batch has `size + 1`: batch statistics need two.

        Images are looked up, augmented and normalised in pieces of several batches. So, to continue
        after `first` batches, the generator must be in the state that it had before the piece with
        the last of these batches.

        Args:
            size: Examples per batch, at least 1.
            order: int64 positions, in 0..M-1; None for all, as they lie.
            generator: As in `batch`.
            first: The number of batches to leave out at the beginning.
            draws: The earlier name of `generator`.
        """
        generator = _one_of(generator, draws)
        rows = self.rows if order is None else self.rows[order.to(self.rows.device)]
        sizes = _batch_sizes(len(rows), size)
        per_piece = max(1, PIECE // (size * math.prod(self.pixels.shape[1:])))
        groups = [sizes[start : start + per_piece] for start in range(0, len(sizes), per_piece)]
        pieces = torch.split(rows, [sum(group) for group in groups])
        done = max(0, first - 1) // per_piece  # pieces that are used up
        groups, pieces = groups[done:], pieces[done:]
        left_out = first - done * per_piece
        for group, piece, images in zip(groups, pieces, self._read(pieces), strict=True):
            inputs, targets = self._inputs(images, generator), self.labels[piece]
            pairs = [*zip(torch.split(inputs, group), torch.split(targets, group), strict=True)]
            yield from pairs[left_out:]
            left_out = 0

    def count_batches(self, size: int) -> int:
        """Return the number of batches that `batches` yields of the whole part."""
        return len(_batch_sizes(len(self), size))

    def count_examples(self, size: int, batches: int) -> int:
        """Return the number of examples in the first of the batches of the whole part."""
        return sum(_batch_sizes(len(self), size)[:batches])

    def _look_up(self, rows: Tensor) -> Tensor:
        if isinstance(self.pixels, StoredImages):
            return _finite(rows, self.pixels[rows])
        return self.pixels.index_select(0, rows)  # far faster on the CPU than pixels[rows]

    def _read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        if isinstance(self.pixels, StoredImages):
            return map(_finite, pieces, self.pixels.read(pieces))
        return map(self._look_up, pieces)

    def _inputs(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.augment is not None and generator is not None:
            images = self.augment(images, generator)
        if images.dtype == torch.int64 and self.mean is None and self.std is None:
            return self._permute(images)  # token ids
        inputs = images.to(torch.float32, copy=True)  # one copy, changed in place
        inputs = inputs if self.mean is None else inputs.sub_(self.mean)
        return self._permute(inputs if self.std is None else inputs.div_(self.std))

    def _permute(self, images: Tensor) -> Tensor:
        if self.permutation is None:
            return images
        return images.flatten(1).index_select(1, self.permutation).view_as(images)


def _one_of(
    generator: torch.Generator | None, draws: torch.Generator | None
) -> torch.Generator | None:
    """Return `generator`, or `draws`, its earlier name."""
    if draws is None:
        return generator
    warn_of_name("Examples.batch(draws=)", "write generator=", "bnnlab 0.4")
    return generator or draws


def _batch_sizes(count: int, size: int) -> list[int]:
    """Return the sizes of batches of `count` examples, see `Examples.batches`."""
    full, rest = divmod(count, size)
    sizes = [size] * full
    if rest == 1 and full > 0:
        sizes[-1] += 1
    elif rest > 0:
        sizes.append(rest)
    return sizes


def _finite(rows: Tensor, images: Tensor) -> Tensor:
    """Return stored images, after a check that floats are finite."""
    if images.is_floating_point():
        low, high = torch.aminmax(images)
        if not (math.isfinite(low) and math.isfinite(high)):
            bad = rows[~images.isfinite().flatten(1).all(1).to(rows.device)]
            raise DataError(
                f"stored images hold pixels that are not finite: row {int(bad[0])} first"
            )
    return images
