"""Check the tasks of a stream before training."""

import json
import logging
from collections.abc import Sequence
from typing import Any

import torch

from bnnlab.engine.copies import (
    Hasher,
    content,
    listed,
    look_for_copies,
    look_for_known,
    look_for_repetitions,
)
from bnnlab.engine.parts import Finite, check_part, check_unit
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.stream import Task, TaskStream

log = logging.getLogger(__name__)


def check_tasks(stream: TaskStream, tasks: Sequence[Task]) -> None:
    """Check the tasks and the protocol of a stream, and warn of likely faults.

    Raises:
        ValueError: With the first fault.
        UsageError: If it is of the data, whoever made the stream of them.
    """
    for value in (*stream.input_shape, stream.classes):
        if type(value) is not int or value < 1:  # checkpoints hold no numbers of NumPy
            raise ValueError(
                f"input_shape and classes must be ints above 0, and are {stream.input_shape!r} and "
                f"{stream.classes!r}"
            )
    if stream.tokens is not None and (type(stream.tokens) is not int or stream.tokens < 1):
        raise ValueError(f"tokens must be an int above 0 or None, and is {stream.tokens!r}")
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
    _check_alike(tasks)
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
    check_part(stream, tasks[0], what, unknown, {}, is_scored=False)
    check_unit(f"{what} and the tasks", [unknown, tasks[0].test])
    look_for_known(what, unknown, tasks)


def _check_alike(tasks: Sequence[Task]) -> None:
    """Check that all targets are of one kind and shape, since one model learns all tasks."""
    kinds: dict[Any, str] = {}
    for task in tasks:
        for name, part in task.parts.items():
            shape = tuple(part.labels.shape[1:])
            said = f"{task.objective.name}, of shape {shape} each, in the {name} part of"
            kinds.setdefault((task.objective, shape), f"{said} {task.name!r}")
    if len(kinds) > 1:
        raise ValueError(f"all targets must be of one kind, and are {' and '.join(kinds.values())}")


def _check_task(stream: TaskStream, task: Task, finite: Finite) -> None:
    classes, parts, objective = task.classes, task.parts, task.objective
    if not isinstance(objective, Objective):
        raise ValueError(f"the objective of {task.name!r} is no Objective, but {objective!r:.60}")
    if classes is not None:
        if not stream.gives_task_ids:
            raise ValueError("a task says its classes, but gives_task_ids is false")
        given = getattr(classes, "dtype", None), getattr(classes, "shape", None)
        if given != (torch.bool, (stream.classes,)):
            shape = f"({stream.classes},)"
            raise ValueError(f"the classes of {task.name!r} must be bool of shape {shape}")
    for name, part in parts.items():
        what = f"the {name} part of {task.name!r}"
        check_part(stream, task, what, part, finite, is_scored=name != "train")
        if classes is None:
            continue
        found = objective.classes_in(part.labels[part.rows])
        if found is None:
            said = f"{task.name!r} says its classes, and its targets are {objective.name}"
            raise ValueError(said)
        if not bool(classes[found].all()):
            raise ValueError(f"{what} has labels that are none of the task's classes")
    check_unit(f"parts of {task.name!r}", parts.values())
    if len({content(part.permutation) for part in parts.values()}) > 1:
        raise ValueError(f"parts of {task.name!r} are permuted in different ways")


def _is_normalised_alike(task: Task) -> bool:
    parts = task.parts.values()
    return len({(content(part.mean), content(part.std)) for part in parts}) == 1
