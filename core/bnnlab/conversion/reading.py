"""Tensors, arrays and data sets of others, read into the memory that a stream holds."""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from bnnlab.conversion.items import as_tensor, described, is_array, read_items
from bnnlab.errors import UsageError, kind_of

log = logging.getLogger(__name__)

_WANTED = (
    "a tuple (inputs, targets) of two tensors or NumPy arrays, a TensorDataset of two tensors, or "
    "a torch Dataset of pairs (input, target), not its DataLoader; for several tasks, a list of "
    "these"
)
MOST_LOST = 0.01
"""Rounding to float32 that is not worth a word, in standard deviations."""


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs and targets of one data set, on the CPU.

    Attributes:
        name: What it was given as, for messages.
        inputs: uint8 or float32 numbers, or int64 token ids, `(N, ...)`.
        targets: int64 classes or float32 numbers, `(N, ...)`.
        changes: Whether an item was another one when it was read again.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    changes: bool

    def __len__(self) -> int:
        return len(self.inputs)


def read(name: str, given: Any, tokens: int | None) -> Data:
    """Read a pair of tensors or arrays, or a data set; `tokens` is the number of token ids, if any.

    Raises:
        UsageError: With what is wrong, and what to give.
    """
    pair, changes = given, False
    if type(given) is TensorDataset:  # another class may show its tensors changed
        pair = given.tensors
    elif isinstance(given, Dataset):
        pair, changes = read_items(name, given)
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(map(is_array, pair)):
        raise UsageError(f"{name}: {described(given)} is no data. Give {_WANTED}.")
    found = []
    for what, value in zip(("inputs", "targets"), pair, strict=True):
        values = as_tensor(f"{name}: the {what}", value)
        if not values.ndim or values.is_complex():
            said = f"{name}: the {what} are {kind_of(values)}"
            raise UsageError(f"{said}. Give real numbers (N, ...).")
        found.append(values)
    x, y = found
    if len(x) != len(y) or not len(x):
        raise UsageError(
            f"{name}: there are {len(x)} inputs and {len(y)} targets. Give one target for each "
            "input, and at least one."
        )
    return Data(name, as_inputs(name, x, tokens), _as_targets(name, y), changes)


def as_inputs(name: str, x: Tensor, tokens: int | None) -> Tensor:
    """Return numbers or token ids `(N, ...)` as a stream stores them.

    Raises:
        UsageError: If they are neither.
    """
    if tokens is not None:
        if x.is_floating_point():
            raise UsageError(f"{name}: the inputs are {kind_of(x)}, token ids are whole numbers.")
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= tokens:
            raise UsageError(
                f"{name}: the token ids go from {low} to {high}, and tokens={tokens} allows 0 to "
                f"{tokens - 1}."
            )
        x = x.long()
    elif x.is_floating_point():
        x = _as_float32(f"{name}: the inputs", x)
    elif x.dtype in (torch.uint8, torch.bool):
        x = x.to(torch.uint8)
        x = x.unsqueeze(1) if x.ndim == 3 else x  # images without a channel
    else:
        raise UsageError(
            f"{name}: the inputs are whole numbers, and no bytes (uint8). If they are token ids, "
            "say how many there are, as tokens=1000. If they are numbers, give them as float32: "
            'x.float(), or x.astype("float32") of NumPy.'
        )
    return x.unsqueeze(1) if x.ndim == 1 else x


def _as_targets(name: str, y: Tensor) -> Tensor:
    """Return classes or real numbers; warn of those that look like something else."""
    if y.is_floating_point():
        y, learned = _as_float32(f"{name}: the targets", y), "real numbers"
        y = y.unsqueeze(1) if y.ndim == 1 else y
    elif y.ndim == 2 and y.shape[1] == 1:
        raise UsageError(
            f"{name}: the targets are whole numbers of shape {tuple(y.shape)}. For a class per "
            "input give y[:, 0], for real numbers y.float()."
        )
    else:
        y, learned = y.long(), f"{y.shape[-1]} classes each"
    seem = "look like one-hot rows" if _is_one_hot(y) else _seem_labels(y)
    if seem:
        log.warning("%s: the targets %s, and are learned as %s.%s", name, seem, learned, advice(y))
    return y


def advice(y: Tensor) -> str:
    """Return what to give for a class per input in place of these targets; empty if unknown."""
    if _is_one_hot(y):
        return " For a class per input give y.argmax(1)."
    if y.is_floating_point():
        return " For classes give y.long(), or y.astype(int) of NumPy."
    return ""


def _is_one_hot(y: Tensor) -> bool:
    is_table = y.ndim == 2 and y.shape[1] > 1
    return is_table and bool((((y == 0) | (y == 1)).all(1) & (y.sum(1) == 1)).all())


def _seem_labels(y: Tensor) -> str:
    """Return how real numbers look like labels; empty if they, or other targets, do not.

    They do if they are whole and come again, and are either few or all those of a range.
    """
    if not y.is_floating_point():
        return ""
    distinct = torch.unique(y)
    count, low, high = len(distinct), float(distinct[0]), float(distinct[-1])
    is_range, are_few = high - low + 1 == count, count**2 <= len(y)
    if torch.equal(distinct, distinct.round()) and 1 < count < len(y) and (is_range or are_few):
        return f"are {count} whole numbers from {low:.0f} to {high:.0f}"
    return ""


def _as_float32(what: str, given: Tensor) -> Tensor:
    """Return real numbers as float32; warn where they are then all but the same.

    Raises:
        UsageError: With the first row that is not finite.
    """
    values = given.float()
    for numbers, are in ((given, "not finite"), (values, "larger than float32 holds (3.4e38)")):
        bad = (~numbers.reshape(len(numbers), -1).isfinite().all(1)).nonzero()
        if len(bad):
            raise UsageError(
                f"{what} are {are} in {len(bad)} of {len(values)} rows, first in row "
                f"{int(bad[0])}. Take these rows out, or replace their numbers."
            )
    if given.dtype == torch.float64 and (lost := _lost(given, values)):
        log.warning(
            "%s are stored as float32, which rounds by more than %g of the standard deviation in "
            "%d of the numbers of a row, first in number %d. Subtract the mean before.",
            *(what, MOST_LOST, len(lost), lost[0]),
        )
    return values


def _lost(given: Tensor, rounded: Tensor) -> list[int]:
    """Return which of the numbers of a row are rounded by much of how far they differ."""
    given, rounded = (each.reshape(len(given), -1) for each in (given, rounded))
    spread, error = given.std(0, correction=0), (given - rounded).square().mean(0).sqrt()
    differs = spread > 1e-12 * given.abs().mean(0)  # by more than float64's own rounding
    return (differs & (error > MOST_LOST * spread)).nonzero()[:, 0].tolist()
