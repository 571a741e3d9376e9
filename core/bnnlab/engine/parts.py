"""Check the parts of a task: their examples are what the stream and the objective say."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bnnlab.engine.copies import TOGETHER
from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples, StoredImages
from bnnlab.interfaces.stream import Task, TaskStream

Finite = dict[int, Tensor]
"""By the id of pixels: which examples hold finite numbers alone, bool of shape (N,)."""


def check_unit(what: str, parts: Iterable[Examples]) -> None:
    """Check that the pixels of several parts have one dtype.

    Raises:
        ValueError: With the dtypes, if there are more.
    """
    kinds = {str(part.pixels.dtype) for part in parts if isinstance(part.pixels, Tensor)}
    if len(kinds) > 1:
        raise ValueError(f"{what} have pixels of {' and of '.join(sorted(kinds))}")


def check_part(
    stream: TaskStream, task: Task, what: str, part: Examples, finite: Finite, *, is_scored: bool
) -> None:
    """Check a part: it is as `Examples` describes, fits stream and task, and inputs are finite.

    Stored images are checked when they are read. `finite` is for pixels that were read before.

    Raises:
        ValueError: With the first fault.
        UsageError: If nothing can be scored on the targets.
    """
    _check_types(what, part)
    _check_rows(what, part, is_scored)
    targets = part.labels[part.rows]
    try:
        task.objective.check(targets, stream.classes)
    except ValueError as error:
        raise ValueError(f"labels of {what} {error}") from error
    try:
        if is_scored:
            task.objective.check_scored(targets)
    except ValueError as error:  # no fault of the stream's code
        raise UsageError(f"the stream: labels of {what} {error}.") from error
    _check_shape(stream, what, part)
    _check_kind(stream, what, part)
    _check_finite(what, part, finite)


def _check_rows(what: str, part: Examples, is_scored: bool) -> None:
    count, rows, labels = part.pixels.shape[0], part.rows, part.labels
    if rows.dtype != torch.int64 or rows.ndim != 1:
        said = f"{rows.dtype} of shape {tuple(rows.shape)}"
        raise ValueError(f"rows of {what} must be int64 of shape ({len(rows)},), and are {said}")
    low, high = int(rows.min()), int(rows.max())
    if low < 0 or high >= count:
        raise ValueError(f"rows of {what} go from {low} to {high}, and the last is {count - 1}")
    if is_scored and len({*rows.tolist()}) < len(rows):
        raise ValueError(f"rows of {what} name an example more than once: it would count twice")
    if labels.shape[:1] != (count,):
        said = f"{count}, one per row of pixels, and have shape {tuple(labels.shape)}"
        raise ValueError(f"labels of {what} must be {said}")


def _check_shape(stream: TaskStream, what: str, part: Examples) -> None:
    given, wanted = tuple(part.pixels.shape[1:]), tuple(stream.input_shape)
    if given != wanted:
        raise ValueError(f"pixels of {what} have shape {given}, and input_shape is {wanted}")
    order, size = part.permutation, math.prod(wanted)
    if order is not None and sorted(order.tolist()) != [*range(size)]:
        raise ValueError(f"the permutation of {what} must hold each of 0 to {size - 1} once")
    if not isinstance(part.pixels, StoredImages):  # else one would be read
        inputs = tuple(part.batch(part.rows.new_zeros(1))[0].shape[1:])
        if inputs != wanted:
            raise ValueError(f"inputs of {what} have shape {inputs}, and input_shape is {wanted}")


def _check_kind(stream: TaskStream, what: str, part: Examples) -> None:
    """Check that pixels are what the stream declares: numbers, or token ids. No image is read."""
    pixels, tokens = part.pixels, stream.tokens
    if not isinstance(pixels, Tensor):
        return
    if tokens is None:
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise ValueError(
                f"pixels of {what} are {pixels.dtype}: numbers must be uint8 or float32. If they "
                "are token ids, say in the stream's attribute `tokens` how many ids there are"
            )
        return
    if pixels.dtype != torch.int64 or part.mean is not None or part.std is not None:
        raise ValueError(
            f"pixels of {what} must be token ids, int64 and without mean and std, since the "
            f"stream says tokens = {tokens}; they are {pixels.dtype}"
        )
    ids = pixels[part.rows]
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= tokens:
        raise ValueError(
            f"token ids of {what} go from {low} to {high}, and tokens = {tokens} allows 0 to "
            f"{tokens - 1}"
        )


def _check_types(what: str, part: Any) -> None:
    if not isinstance(part, Examples):
        raise ValueError(f"{what} must be Examples, and is {part!r:.60}")
    for name in ("rows", "labels", "mean", "std"):
        value = getattr(part, name)
        if not isinstance(value, Tensor) and (name in ("rows", "labels") or value is not None):
            raise ValueError(f"{name} of {what} must be a tensor, and is {value!r:.60}")
    if not isinstance(part.pixels, Tensor | StoredImages):
        raise ValueError(f"pixels of {what} must be a tensor or StoredImages")
    if not len(part):
        raise ValueError(f"{what} has no example")


def _check_finite(what: str, part: Examples, finite: Finite) -> None:
    given = [each for each in (part.mean, part.std) if each is not None]
    is_positive = part.std is None or bool((part.std > 0).all())
    if not is_positive or not all(bool(each.isfinite().all()) for each in given):
        raise ValueError(f"mean and std of {what} must be finite, and std above 0")
    pixels = part.pixels
    if isinstance(pixels, StoredImages) or not pixels.is_floating_point():
        return
    if id(pixels) not in finite:
        pieces = (piece.flatten(1).float() for piece in torch.split(pixels, TOGETHER))
        ranges = [torch.stack(torch.aminmax(piece, dim=1)) for piece in pieces]
        finite[id(pixels)] = torch.cat(ranges, 1).isfinite().all(0)
    if bad := int((~finite[id(pixels)][part.rows]).sum()):
        many = f"{bad} of the {len(part)} examples"
        raise ValueError(f"{many} of {what} hold pixels that are not finite")
