"""What the tasks of a stream must be, looked at before anything is learned from them."""

import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnnlab.stream import Examples, StoredImages, Task, TaskStream

log = logging.getLogger(__name__)

TOLERATED = 0.5
"""Share of a test part that may be learned from, too: real data sets have copies."""
NAMED = 3
"""Tasks that a warning names."""
_TOGETHER = 10_000  # rows that are hashed at a time
_ODD = 0x9E3779B97F4A7C1  # spreads labels over 64 bits

Hashes = npt.NDArray[np.int64]
Ranges = dict[int, Tensor]
"""By the id of pixels, what `_ranges` says of them."""


def check_tasks(stream: TaskStream, tasks: Sequence[Task]) -> None:
    """See that a stream's tasks and its protocol say what they must, and say what looks wrong.

    Raises:
        ValueError: If there is no task, if the tasks are not numbered 0 to len(stream) - 1 in
            order, if one contradicts the stream, has no examples, is tested mostly on what is
            learned from, or in another order of pixels or dtype, if a part is not what `Examples`
            says or becomes inputs that are not finite, or if the protocol is not a dict of JSON
            types that says something.
    """
    if not tasks:
        raise ValueError("there is no task")
    if len(tasks) != len(stream):
        raise ValueError(f"it has {len(tasks)} tasks, and its len() is {len(stream)}")
    ranges: Ranges = {}
    for index, task in enumerate(tasks):
        if not isinstance(task, Task):
            raise ValueError(f"task {index} must be a Task, and is a {type(task).__name__}")
        if task.index != index:
            raise ValueError(f"task {index} ({task.name}) has the index {task.index}")
        _check_task(stream, task, ranges)
    protocol = stream.protocol()
    if not isinstance(protocol, dict) or all(v in (None, "", [], {}) for v in protocol.values()):
        raise ValueError(f"protocol() must describe the data in a dict, and returned {protocol!r}")
    json.dumps(protocol, allow_nan=False)
    hashes = _Hasher()
    _look_for_copies(tasks, hashes)
    _look_for_repetitions(tasks, hashes)


def check_unknown(stream: TaskStream, tasks: Sequence[Task], unknown: Any) -> None:
    """See that inputs of no task can be shown to the model beside the tasks, and are new to it.

    Raises:
        ValueError: If they are no `Examples`, none, of another shape or unit than the tasks', have
            labels beyond the classes, or are mostly images of the tasks, in the same order of
            pixels.
    """
    what = "out_of_distribution()"
    _check_part(stream, what, unknown, {})
    _check_unit(f"{what} and the tasks", [unknown, tasks[0].test])
    order = _content(unknown.permutation)
    parts = [part for task in tasks for part in _parts(task) if _content(part.permutation) == order]
    if not parts:
        return
    hashes = _Hasher()
    count = len(unknown)
    copies = _count(_distinct(map(hashes.images, parts)), hashes.images(unknown))
    if copies > TOLERATED * count:
        raise ValueError(f"{copies} of {count} examples of {what} are images of the tasks")
    if copies:
        log.warning("%d of %d examples of %s are images of the tasks", copies, count, what)


def _parts(task: Task) -> list[Examples]:
    return [part for part in (task.train, task.test, task.validation) if part is not None]


def _check_task(stream: TaskStream, task: Task, ranges: Ranges) -> None:
    classes = task.classes
    if classes is not None and not stream.gives_task_ids:
        raise ValueError("a task says its classes, but gives_task_ids is false")
    if classes is not None and (classes.dtype, classes.shape) != (torch.bool, (stream.classes,)):
        raise ValueError(f"the classes of {task.name!r} must be bool of shape ({stream.classes},)")
    for name in ("train", "validation", "test"):
        part: Examples | None = getattr(task, name)
        if part is None:
            continue
        what = f"the {name} part of {task.name!r}"
        _check_part(stream, what, part, ranges)
        if classes is not None and not bool(classes[part.labels[part.rows]].all()):
            raise ValueError(f"{what} has labels that are none of the task's classes")
    _check_unit(f"parts of {task.name!r}", _parts(task))
    if len({_content(part.permutation) for part in _parts(task)}) > 1:
        raise ValueError(f"parts of {task.name!r} are permuted in different ways")


def _check_unit(what: str, parts: Sequence[Examples]) -> None:
    kinds = {str(part.pixels.dtype) for part in parts if isinstance(part.pixels, Tensor)}
    if len(kinds) > 1:
        raise ValueError(f"{what} have pixels of {' and of '.join(sorted(kinds))}")


def _check_part(stream: TaskStream, what: str, part: Examples, ranges: Ranges) -> None:
    """See that a part is what `Examples` says, fits the stream and becomes finite inputs.

    Stored images are looked at when they are read. The ranges hold what is known of pixels already.
    """
    _check_types(what, part)
    count, rows = part.pixels.shape[0], part.rows
    for name, values, shape in (("rows", rows, (len(rows),)), ("labels", part.labels, (count,))):
        if values.dtype != torch.int64 or values.shape != shape:
            said = f"{values.dtype} of shape {tuple(values.shape)}"
            raise ValueError(f"{name} of {what} must be int64 of shape {shape}, and are {said}")
    low, high = int(rows.min()), int(rows.max())
    if low < 0 or high >= count:
        raise ValueError(f"rows of {what} go from {low} to {high}, and its images to {count - 1}")
    labels = part.labels[rows]
    if int(labels.min()) < 0 or int(labels.max()) >= stream.classes:
        raise ValueError(f"labels of {what} beyond 0 to {stream.classes - 1}")
    given, wanted = tuple(part.pixels.shape[1:]), tuple(stream.input_shape)
    if given != wanted:
        raise ValueError(f"images of {what} have shape {given}, and input_shape is {wanted}")
    order, size = part.permutation, math.prod(wanted)
    if order is not None and sorted(order.tolist()) != [*range(size)]:
        raise ValueError(f"the permutation of {what} must hold each of 0 to {size - 1} once")
    if not isinstance(part.pixels, StoredImages):  # else one would be read
        inputs = tuple(part.batch(labels.new_zeros(1))[0].shape[1:])
        if inputs != wanted:
            raise ValueError(f"inputs of {what} have shape {inputs}, and input_shape is {wanted}")
    _check_finite(what, part, ranges)


def _check_types(what: str, part: Any) -> None:
    if not isinstance(part, Examples):
        raise ValueError(f"{what} must be Examples, and is {part!r:.60}")
    for name in ("rows", "labels", "mean", "std"):
        value = getattr(part, name)
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} of {what} must be a tensor, and is {value!r:.60}")
    if not isinstance(part.pixels, Tensor | StoredImages):
        raise ValueError(f"pixels of {what} must be a tensor or StoredImages")
    if not len(part):
        raise ValueError(f"{what} has no example")


def _check_finite(what: str, part: Examples, ranges: Ranges) -> None:
    if not bool(part.mean.isfinite().all() & part.std.isfinite().all() & (part.std > 0).all()):
        raise ValueError(f"mean and std of {what} must be finite, and std above 0")
    pixels = part.pixels
    if isinstance(pixels, StoredImages) or not pixels.is_floating_point():
        return
    if id(pixels) not in ranges:
        ranges[id(pixels)] = _ranges(pixels)
    bad = int((~ranges[id(pixels)][part.rows].isfinite()).any(1).sum())
    if bad:
        many = f"{bad} of the {len(part)} images"
        raise ValueError(f"{many} of {what} hold pixels that are not finite")


def _ranges(pixels: Tensor) -> Tensor:
    """Return the least and the largest number of each image, `(N, 2)`; NaN where one is NaN."""
    parts = (part.reshape(len(part), -1) for part in torch.split(pixels, _TOGETHER))
    found = [torch.stack(torch.aminmax(part.float(), dim=1), 1) for part in parts]
    return torch.cat(found)


class _Hasher:
    """Knows each example by 64 bits; data that parts share are looked at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], Hashes] = {}

    def examples(self, part: Examples) -> Hashes:
        """Return a hash of each example: of its pixels as stored, and its label."""
        return self._once(lambda: self._examples(part), part.pixels, part.labels, part.rows)

    def images(self, part: Examples) -> Hashes:
        """Return a hash of each example's pixels.

        Stored images without digests are known by where they are stored: reading them takes too
        long here.
        """
        pixels, rows = part.pixels, _array(part.rows)
        if isinstance(pixels, StoredImages) and pixels.digests is None:
            return rows + hash((id(pixels),))
        return self._once(lambda: _rows(pixels), pixels)[rows]

    def _examples(self, part: Examples) -> Hashes:
        return self.images(part) + _array(part.labels[part.rows]) * _ODD

    def _once(self, make: Callable[[], Hashes], *data: object) -> Hashes:
        key = tuple(map(id, data))  # all tasks are alive: what is the same object is the same data
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


def _array(tensor: Tensor) -> npt.NDArray[np.int64]:
    return tensor.cpu().numpy().astype(np.int64)


def _rows(pixels: Tensor | StoredImages) -> Hashes:
    """Return a hash of each image."""
    if isinstance(pixels, StoredImages):
        return np.fromiter(map(hash, pixels.digests or ()), np.int64)
    found = [np.zeros(0, np.int64)]
    for part in torch.split(pixels, _TOGETHER):
        content = part.reshape(len(part), -1).contiguous().cpu().view(torch.uint8).numpy()
        lines = content.view(np.dtype((np.void, content.shape[1])))[:, 0].tolist()
        found.append(np.fromiter(map(hash, lines), np.int64, len(lines)))
    return np.concatenate(found)


def _look_for_copies(tasks: Sequence[Task], hashes: _Hasher) -> None:
    """Warn of test examples that any task learns from or chooses by; refuse where most are.

    Raises:
        ValueError: If more than `TOLERATED` of a task's test part are.
    """
    parts = [part for task in tasks for part in (task.train, task.validation) if part is not None]
    learned = _distinct(map(hashes.examples, parts))
    said = []
    for task in tasks:
        tested = hashes.examples(task.test)
        copies, count = _count(learned, tested), len(tested)
        if copies > TOLERATED * count:
            raise ValueError(
                f"{copies} of {count} test examples of {task.name!r} are learned from, too: take "
                "them out of one of the parts"
            )
        if copies:
            said.append(f"{copies} of {count} ({copies / count:.1%}) in task {task.name!r}")
    if said:
        log.warning(
            "test examples that some task learns from, too, pixels and label alike: %s. What is "
            "measured on them says nothing of new examples.",
            _listed(said),
        )


def _distinct(parts: Iterable[Hashes]) -> Hashes:
    """Return the hashes of all parts, sorted, each once."""
    return np.unique(np.concatenate(list({id(part): part for part in parts}.values())))


def _count(known: Hashes, tested: Hashes) -> int:
    """Return how many of the tested are among the known, which are distinct."""
    places = np.searchsorted(known, tested).clip(max=len(known) - 1)
    return int((known[places] == tested).sum())


def _look_for_repetitions(tasks: Sequence[Task], hashes: _Hasher) -> None:
    first: dict[Any, Task] = {}
    said = []
    for task in tasks:
        parts = [_identity(part, hashes) for part in (task.train, task.test)]
        before = first.setdefault((*parts, _content(task.classes)), task)
        if before is not task:
            said.append(f"{task.index + 1} ({task.name}) is {before.index + 1} ({before.name})")
    if said:
        log.warning("tasks that are an earlier one again, train and test: %s", _listed(said))


def _identity(part: Examples, hashes: _Hasher) -> tuple[Any, ...]:
    shown = map(_content, (part.mean, part.std, part.permutation))
    return hash(np.sort(hashes.examples(part)).tobytes()), *shown


def _content(tensor: Tensor | None) -> bytes | None:
    return None if tensor is None else tensor.cpu().numpy().tobytes()


def _listed(said: Sequence[str]) -> str:
    more = f", and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return ", ".join(said[:NAMED]) + more
