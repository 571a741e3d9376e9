"""Find copies of examples: in training and test, in two tasks, or among unknown inputs."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples, StoredImages
from bnnlab.interfaces.stream import Task

log = logging.getLogger(__name__)

TOLERATED = 0.5
"""Share of a test part that may be learned from, too: real data sets have copies."""
NAMED = 3
"""Tasks that a warning names."""
TOGETHER = 10_000
"""Rows that are looked at at a time."""
_ODD = 0x9E3779B97F4A7C1  # spreads labels over 64 bits

Hashes = npt.NDArray[np.int64]


class Hasher:
    """Hash each example to 64 bits. Data that several parts share are hashed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], Hashes] = {}

    def examples(self, part: Examples) -> Hashes:
        """Return a hash of each example: of its pixels as stored, and its label."""
        pixels, labels, rows = part.pixels, part.labels, part.rows

        def make() -> Hashes:
            is_one = labels.ndim == 1 and not labels.is_floating_point()
            each = _array(labels) if is_one else self._once(lambda: _rows(labels), labels)
            return self.images(part) + each[_array(rows)] * _ODD

        return self._once(make, pixels, labels, rows)

    def images(self, part: Examples) -> Hashes:
        """Return a hash of each example's pixels.

        Stored images without digests are compared by where they are stored, because reading them
        all takes too long.
        """
        pixels, rows = part.pixels, _array(part.rows)
        if isinstance(pixels, StoredImages) and pixels.digests is None:
            return rows + hash((id(pixels),))
        return self._once(lambda: _rows(pixels), pixels)[rows]

    def _once(self, make: Callable[[], Hashes], *data: object) -> Hashes:
        key = tuple(map(id, data))  # all tasks are alive: what is the same object is the same data
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def _array(tensor: Tensor) -> Hashes:
    return tensor.cpu().numpy().astype(np.int64)


def _rows(pixels: Tensor | StoredImages) -> Hashes:
    """Return a hash of each image."""
    if isinstance(pixels, StoredImages):
        return np.fromiter(map(hash, pixels.digests or ()), np.int64)
    found: list[int] = []
    for part in torch.split(pixels, TOGETHER):
        images = part.reshape(len(part), -1).contiguous().cpu().view(torch.uint8).numpy()
        found += [hash(image.tobytes()) for image in images]
    return np.array(found, np.int64)


def look_for_copies(tasks: Sequence[Task], hashes: Hasher) -> None:
    """Warn of test or validation examples that any task learns from.

    For a test part, validation examples count as learned from.

    Raises:
        UsageError: If they are more than the share `TOLERATED` of a part.
    """
    said = []
    for name, learned in (("test", ("train", "validation")), ("validation", ("train",))):
        parts = [part for task in tasks for at, part in task.parts.items() if at in learned]
        known = _distinct(map(hashes.examples, parts))
        tested = [(task.name, task.parts[name]) for task in tasks if name in task.parts]
        for task, part in tested:
            copies, count = _count(known, hashes.examples(part)), len(part)
            if copies > TOLERATED * count:
                raise UsageError(
                    f"the stream: {copies} of {count} {name} examples of {task!r} are in a "
                    f"{' or '.join(learned)} part, too: take them out of one of the parts."
                )
            if copies:
                share = f"{copies} of {count} ({copies / count:.1%})"
                said.append(f"{share} in the {name} part of {task!r}")
    if said:
        log.warning(
            "examples of test or validation that some task learns from, too, pixels and label "
            "alike: %s. What is measured on them says nothing of new examples.",
            listed(said),
        )


def look_for_known(what: str, unknown: Examples, tasks: Sequence[Task]) -> None:
    """Warn of unknown images that are in the tasks, in the same order of pixels; refuse most.

    Raises:
        ValueError: If they are more than the share `TOLERATED` of the unknown ones.
    """
    order = content(unknown.permutation)
    every = [part for task in tasks for part in task.parts.values()]
    parts = [part for part in every if content(part.permutation) == order]
    if not parts:
        return
    hashes, count = Hasher(), len(unknown)
    copies = _count(_distinct(map(hashes.images, parts)), hashes.images(unknown))
    if copies > TOLERATED * count:
        raise ValueError(f"{copies} of {count} examples of {what} are images of the tasks")
    if copies:
        log.warning("%d of %d examples of %s are images of the tasks", copies, count, what)


def _distinct(parts: Iterable[Hashes]) -> Hashes:
    """Return the hashes of all parts, sorted, each once."""
    return np.unique(np.concatenate(list({id(part): part for part in parts}.values())))


def _count(known: Hashes, tested: Hashes) -> int:
    """Return how many tested hashes are among the known ones, which are sorted and distinct."""
    places = np.searchsorted(known, tested).clip(max=len(known) - 1)
    return int((known[places] == tested).sum())


def look_for_repetitions(tasks: Sequence[Task], hashes: Hasher) -> None:
    """Warn of tasks with the same examples as an earlier task; augmentation does not count."""
    first: dict[Any, Task] = {}
    said = []
    for task in tasks:
        parts = [_identity(part, hashes) for part in (task.train, task.test)]
        before = first.setdefault((*parts, content(task.classes)), task)
        if before is not task:
            said.append(f"{task.index + 1} ({task.name}) is {before.index + 1} ({before.name})")
    if said:
        what = f"train and {tasks[0].scored_on}"
        log.warning("tasks that are an earlier one again, %s: %s", what, listed(said))


def _identity(part: Examples, hashes: Hasher) -> tuple[Any, ...]:
    shown = map(content, (part.mean, part.std, part.permutation))
    return hash(np.sort(hashes.examples(part)).tobytes()), *shown


def content(tensor: Tensor | None) -> bytes | None:
    """Return a tensor's content as bytes, to compare and hash."""
    return None if tensor is None else tensor.cpu().numpy().tobytes()


def listed(said: Sequence[str]) -> str:
    """Return the first few as text, and the number of the others."""
    more = f", and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return ", ".join(said[:NAMED]) + more
