"""Data are divided: into the parts of tasks, and by classes into tasks."""

import logging
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from bnnlab.conversion.reading import Data
from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import NUMBERED
from bnnlab.interfaces.stream import Task
from bnnlab.seeds import permutation

log = logging.getLogger(__name__)


def divided(
    trained: Sequence[Data],
    tested: Sequence[Data],
    shares: Mapping[str, float],
    objective: Objective,
    seed: int,
) -> list[Task]:
    """Return a task for each data set, with its test data, or with those of all.

    The `shares` say by name which parts are held out of the training data, one after another; 0 is
    no such part. Each class gives its share. The seed decides which rows these are. They are the
    same of data sets with the same targets: these may be the same examples in another form.

    Raises:
        UsageError: If a part would be empty, or there are too many or too few test data.
    """
    if len(tested) not in (0, 1, len(trained)):
        raise UsageError(
            f"test: there are {len(tested)} data sets for {len(trained)} tasks. Give one for all, "
            "or one for each."
        )
    tests, tasks = [*map(_whole, tested)], []
    for index, data in enumerate(trained):
        parts = {"train": _whole(data)}
        alike = next(at for at, it in enumerate(trained) if torch.equal(it.targets, data.targets))
        labels = data.targets if objective.is_of_classes else torch.zeros(len(data))
        for name, share in shares.items():
            if not share:
                continue
            rows = parts["train"].rows
            held = _held_out(labels[rows], share, seed, f"{name}/{alike}")
            if bool(held.all()) or not bool(held.any()):
                raise UsageError(
                    f"{name}: {share:g} of the {len(data)} rows of {data.name} leaves none. Give "
                    "more data, or another share."
                )
            parts[name] = replace(parts["train"], rows=rows[held])
            parts["train"] = replace(parts["train"], rows=rows[~held])
        if tests:
            parts["test"] = tests[index % len(tests)]
        tasks.append(Task(index, f"task {index + 1}", **parts, classes=None, objective=objective))
    _warn_of_gaps(trained, objective)
    _warn_of_unlearned(tasks)
    return tasks


def _warn_of_gaps(trained: Sequence[Data], objective: Objective) -> None:
    """Warn of classes below the largest that no training target is: labels may not begin at 0."""
    labels = objective.classes_in(torch.cat([data.targets for data in trained]))
    if labels is None:
        return
    classes = torch.unique(labels)
    gaps = (classes != torch.arange(len(classes))).nonzero()
    if len(gaps):
        low, high = int(classes[0]), int(classes[-1])
        log.warning(
            "train: the classes are 0 to %d, and there is no example of %d of them, first %d. If "
            "your labels number the classes otherwise, give %s, of all data together.",
            *(high, high + 1 - len(classes), int(gaps[0])),
            f"y - {low}" if high - low + 1 == len(classes) else NUMBERED,
        )


def _warn_of_unlearned(tasks: Sequence[Task]) -> None:
    """Warn of classes that are in another part, and in no task's training part."""
    classes: dict[str, set[int]] = {}
    for task in tasks:
        for name, part in task.parts.items():
            found = task.objective.classes_in(part.labels[part.rows])
            if found is not None:
                classes.setdefault(name, set()).update(torch.unique(found).tolist())
    for name, scored in classes.items():
        if never := sorted(scored - classes["train"]):
            log.warning(
                "%s: there are examples of classes that no task learns, %d in all, first %d",
                *(name, len(never), never[0]),
            )


def _whole(data: Data) -> Examples:
    return Examples(data.inputs, data.targets, torch.arange(len(data)))


def _held_out(labels: Tensor, share: float, seed: int, name: str) -> Tensor:
    """Return which of some rows are a share of them, bool `(M,)`; each label gives its share."""
    held, before = torch.zeros(len(labels), dtype=torch.bool), 0
    for number, label in enumerate(torch.unique(labels)):
        rows = (labels == label).nonzero()[:, 0]
        count = round(share * (before + len(rows))) - round(share * before)
        held[rows[permutation(len(rows), seed, name, number)[:count]]] = True
        before += len(rows)
    return held


def by_classes(
    task: Task, groups: Sequence[Sequence[int]], classes: int, names: Sequence[str]
) -> Iterator[Task]:
    """Yield a task, with its mask, for each group of the `classes` of a task; `names` are theirs.

    Warn of classes with examples that are in no group.

    Raises:
        UsageError: If a part of one would be empty.
    """
    found = torch.unique(torch.cat([part.labels[part.rows] for part in task.parts.values()]))
    if left := sorted({*found.tolist()}.difference(*groups)):
        log.warning("tasks: no task has the classes %s: their examples are left out", _span(left))
    for index, group in enumerate(groups):
        called = " ".join(names[each] for each in group) if names else f"classes {_span(group)}"
        mask = torch.zeros(classes, dtype=torch.bool)
        mask[[*group]] = True
        own: dict[str, Any] = {
            name: replace(part, rows=part.rows[mask[part.labels[part.rows]]])
            for name, part in task.parts.items()
        }
        if empty := [name for name, part in own.items() if not len(part)]:
            raise UsageError(
                f"tasks: there is no {empty[0]} example of {called}. Leave these classes out, or "
                "give more data."
            )
        yield replace(task, index=index, name=called, classes=mask, **own)


def _span(group: Sequence[int]) -> str:
    is_run = len(group) > 1 and [*group] == [*range(group[0], group[-1] + 1)]
    return f"{group[0]}-{group[-1]}" if is_run else ", ".join(map(str, group))


def class_groups(tasks: Any, classes: int) -> Sequence[Sequence[int]]:
    """Return the classes of each task, of a number of tasks or of those that are said.

    Raises:
        UsageError: If the number of tasks does not divide the classes; if a task has no class, or
            a class that is not there or that another task has.
    """
    if isinstance(tasks, Integral):
        divisors = [number for number in range(1, classes + 1) if classes % number == 0]
        if tasks not in divisors:
            raise UsageError(
                f"tasks: {tasks} does not divide the {classes} classes. Use one of "
                f"{', '.join(map(str, divisors))}, or give the classes of each task, as "
                "tasks=[[0, 1], [2]]."
            )
        return [*torch.arange(classes).view(int(tasks), -1).tolist()]
    try:
        groups = [[*map(operator.index, group)] for group in tasks]
    except TypeError:
        raise UsageError(
            f"tasks: {tasks!r:.60} is neither how many tasks there are nor the classes of each, as "
            "tasks=[[0, 1], [2]]."
        ) from None
    every = [each for group in groups for each in group]
    if odd := {*every} - {*range(classes)}:
        raise UsageError(f"tasks: there is no class {min(odd)}, only 0 to {classes - 1}.")
    if len({*every}) < len(every):
        twice = next(each for each in every if every.count(each) > 1)
        raise UsageError(
            f"tasks: class {twice} is named twice; for tasks with common classes give a list of "
            "data sets."
        )
    if not groups or not all(groups):
        raise UsageError("tasks: a task has no class.")
    return groups
