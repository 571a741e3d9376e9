"""Check the tasks of a stream before training."""

import json
import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bnnlab.engine.copies import (
    TOGETHER,
    Hasher,
    content,
    listed,
    look_for_copies,
    look_for_known,
    look_for_repetitions,
    parts_of,
)
from bnnlab.interfaces.examples import Examples, StoredImages
from bnnlab.interfaces.stream import Task, TaskStream

log = logging.getLogger(__name__)

Finite = dict[int, Tensor]
"""By the id of pixels: which images hold finite numbers alone, bool of shape (N,)."""


def check_tasks(stream: TaskStream, tasks: Sequence[Task]) -> None:
    """Check the tasks and the protocol of a stream, and warn of likely faults.

    Raises:
        ValueError: With the first fault.
    """
    for value in (*stream.input_shape, stream.classes):
        if type(value) is not int or value < 1:  # checkpoints hold no numbers of NumPy
            raise ValueError(
                f"input_shape and classes must be ints above 0, and are {stream.input_shape!r} and "
                f"{stream.classes!r}"
            )
    names = stream.class_names
    is_named = not isinstance(names, str) and all(isinstance(name, str) for name in names)
    if not is_named or len(names) not in (0, stream.classes):
        what = f"{stream.classes} texts or none"
        raise ValueError(f"class_names must be {what}, and is {names!r:.80}")
    if not tasks:
        raise ValueError("there is no task")
    if len(tasks) != len(stream):
        raise ValueError(f"it has {len(tasks)} tasks, and its len() is {len(stream)}")
    finite: Finite = {}
    for index, task in enumerate(tasks):
        if not isinstance(task, Task):
            raise ValueError(f"task {index} must be a Task, and is a {type(task).__name__}")
        if type(task.index) is not int or task.index != index:
            raise ValueError(f"task {index} ({task.name}) has the index {task.index!r}")
        _check_task(stream, task, finite)
    protocol = stream.protocol()
    if not isinstance(protocol, dict) or all(v in (None, "", [], {}) for v in protocol.values()):
        raise ValueError(f"protocol() must describe the data in a dict, and returned {protocol!r}")
    json.dumps(protocol, allow_nan=False, sort_keys=True)
    if odd := [repr(task.name) for task in tasks if not _is_normalised_alike(task)]:
        log.warning("the parts of one task are normalised by other mean or std: %s", listed(odd))
    hashes = Hasher()
    look_for_copies(tasks, hashes)
    look_for_repetitions(tasks, hashes)


def check_unknown(stream: TaskStream, tasks: Sequence[Task], unknown: Any) -> None:
    """Check the out-of-distribution inputs: the model can read them, and they are not in the tasks.

    Raises:
        ValueError: With the first fault.
    """
    what = "out_of_distribution()"
    _check_part(stream, what, unknown, {})
    _check_unit(f"{what} and the tasks", [unknown, tasks[0].test])
    look_for_known(what, unknown, tasks)


def _check_task(stream: TaskStream, task: Task, finite: Finite) -> None:
    classes, parts = task.classes, parts_of(task)
    if classes is not None:
        if not stream.gives_task_ids:
            raise ValueError("a task says its classes, but gives_task_ids is false")
        given = getattr(classes, "dtype", None), getattr(classes, "shape", None)
        if given != (torch.bool, (stream.classes,)):
            shape = f"({stream.classes},)"
            raise ValueError(f"the classes of {task.name!r} must be bool of shape {shape}")
    for name, part in parts.items():
        what = f"the {name} part of {task.name!r}"
        _check_part(stream, what, part, finite)
        if name != "train" and len({*part.rows.tolist()}) < len(part):
            raise ValueError(f"rows of {what} name an image more than once: it would count twice")
        if classes is not None and not bool(classes[part.labels[part.rows]].all()):
            raise ValueError(f"{what} has labels that are none of the task's classes")
    _check_unit(f"parts of {task.name!r}", parts.values())
    if len({content(part.permutation) for part in parts.values()}) > 1:
        raise ValueError(f"parts of {task.name!r} are permuted in different ways")


def _is_normalised_alike(task: Task) -> bool:
    first, *others = parts_of(task).values()
    return all(
        bool((part.mean == first.mean).all() & (part.std == first.std).all()) for part in others
    )


def _check_unit(what: str, parts: Iterable[Examples]) -> None:
    kinds = {str(part.pixels.dtype) for part in parts if isinstance(part.pixels, Tensor)}
    if len(kinds) > 1:
        raise ValueError(f"{what} have pixels of {' and of '.join(sorted(kinds))}")


def _check_part(stream: TaskStream, what: str, part: Examples, finite: Finite) -> None:
    """Check a part: it is as `Examples` describes, fits the stream, and its inputs are finite.

    Stored images are checked when they are read. `finite` is for pixels that were read before.
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
    _check_finite(what, part, finite)


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


def _check_finite(what: str, part: Examples, finite: Finite) -> None:
    if not bool(part.mean.isfinite().all() & part.std.isfinite().all() & (part.std > 0).all()):
        raise ValueError(f"mean and std of {what} must be finite, and std above 0")
    pixels = part.pixels
    if isinstance(pixels, StoredImages) or not pixels.is_floating_point():
        return
    if id(pixels) not in finite:
        pieces = (piece.flatten(1).float() for piece in torch.split(pixels, TOGETHER))
        ranges = [torch.stack(torch.aminmax(piece, dim=1)) for piece in pieces]
        finite[id(pixels)] = torch.cat(ranges, 1).isfinite().all(0)
    if bad := int((~finite[id(pixels)][part.rows]).sum()):
        many = f"{bad} of the {len(part)} images"
        raise ValueError(f"{many} of {what} hold pixels that are not finite")
