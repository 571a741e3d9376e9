"""Data are divided into the parts of tasks: training, validation and test."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from bnnlab.conversion.reading import Data
from bnnlab.errors import UsageError
from bnnlab.seeds import permutation

log = logging.getLogger(__name__)

Parts = Mapping[str, "Part"]
"""The parts of a task by name: `train`, `test` and maybe `validation`."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a data set.

    Attributes:
        data: The data set.
        rows: int64 `(M,)`, in order.
    """

    data: Data
    rows: Tensor

    @property
    def targets(self) -> Tensor:
        """The targets of the rows, `(M, ...)`."""
        return self.data.targets[self.rows]

    def of_classes(self, classes: Sequence[int]) -> "Part":
        """Return the rows with one of these classes."""
        return replace(self, rows=self.rows[torch.isin(self.targets, torch.tensor(classes))])


class Piece(NamedTuple):
    """What becomes a task.

    Attributes:
        name: Of the task.
        parts: Its parts.
        classes: Its classes; None if they are those that its targets have.
    """

    name: str
    parts: Parts
    classes: Sequence[int] | None = None


@dataclass(frozen=True)
class Shares:
    """What is held out of training data.

    Attributes:
        test: A share; None if there are test data.
        validation: A share of what is left; 0 for none.
        of_each_class: Whether each class gives its share.
        seed: Decides which rows these are.
    """

    test: float | None
    validation: float
    of_each_class: bool
    seed: int

    def pieces(self, trained: Sequence[Data], tested: Sequence[Data]) -> list[Piece]:
        """Return a task for each data set.

        Args:
            trained: The data sets.
            tested: Test data of each, or of all; none if a share is held out.

        Raises:
            UsageError: If a part would be empty, or there are too many or too few test data.
        """
        if len(tested) not in (0, 1, len(trained)):
            raise UsageError(
                f"test: there are {len(tested)} data sets for {len(trained)} tasks. Give one for "
                "all, or one for each."
            )
        one: list[Data | None] = [*tested] or [None]
        tests = one if len(one) == len(trained) else one * len(trained)
        pairs = enumerate(zip(trained, tests, strict=True))
        return [Piece(f"task {place + 1}", self._parts(place, *pair)) for place, pair in pairs]

    def _parts(self, place: int, train: Data, test: Data | None) -> Parts:
        left = Part(train, torch.arange(len(train)))
        parts = {} if test is None else {"test": Part(test, torch.arange(len(test)))}
        for name, share in (("test", self.test), ("validation", self.validation)):
            if share:
                left, parts[name] = self._hold_out(left, share, f"{name}/{place}")
                if not len(parts[name].rows) or not len(left.rows):
                    raise UsageError(
                        f"{name}: {share:g} of the {len(train)} rows of {train.name} leaves none. "
                        "Give more data, or another share."
                    )
        return {**parts, "train": left}

    def _hold_out(self, part: Part, share: float, name: str) -> tuple[Part, Part]:
        """Return what is left, and what is held out: of all rows, or of each class, its share."""
        rows, targets = part.rows, part.targets
        groups = [rows]
        if self.of_each_class:
            groups = [rows[targets == each] for each in torch.unique(targets)]
        held, before = [], 0
        for number, group in enumerate(groups):
            count = round(share * (before + len(group))) - round(share * before)
            held.append(group[permutation(len(group), self.seed, name, number)[:count]])
            before += len(group)
        is_held = torch.isin(rows, torch.cat(held))
        return replace(part, rows=rows[~is_held]), replace(part, rows=rows[is_held])


def by_classes(
    parts: Parts, groups: Sequence[Sequence[int]], names: Sequence[str]
) -> Iterator[Piece]:
    """Yield the task of each group of classes.

    Raises:
        UsageError: If a part of a task would be empty.
    """
    for group in groups:
        called = " ".join(names[each] for each in group) if names else f"classes {_span(group)}"
        own = {name: part.of_classes(group) for name, part in parts.items()}
        for name, part in own.items():
            if not len(part.rows):
                raise UsageError(
                    f"tasks: {part.data.name} has no {name} example of {called}. Leave these "
                    "classes out, or give more data."
                )
        yield Piece(called, own, group)


def _span(group: Sequence[int]) -> str:
    is_run = len(group) > 1 and [*group] == [*range(group[0], group[-1] + 1)]
    return f"{group[0]}-{group[-1]}" if is_run else ", ".join(map(str, group))


def class_groups(tasks: int | Sequence[Sequence[int]], classes: int) -> list[list[int]]:
    """Return the classes of each task.

    Args:
        tasks: How many tasks, or the classes of each.
        classes: How many classes there are.

    Raises:
        UsageError: If the number of tasks does not divide the classes; if a task has no class, or
            a class that is not there or that another task has.
    """
    if isinstance(tasks, int):
        divisors = [number for number in range(1, classes + 1) if classes % number == 0]
        if tasks not in divisors:
            raise UsageError(
                f"tasks: {tasks} does not divide the {classes} classes. Use one of "
                f"{', '.join(map(str, divisors))}, or give the classes of each task, as "
                "tasks=[[0, 1], [2]]."
            )
        size = classes // tasks
        return [[*range(start, start + size)] for start in range(0, classes, size)]
    groups = [[int(each) for each in group] for group in tasks]
    every = [each for group in groups for each in group]
    odd = [each for each in every if not 0 <= each < classes]
    twice = [each for each in every if every.count(each) > 1]
    if odd or twice or not all(groups):
        why = (
            f"there is no class {odd[0]}, only 0 to {classes - 1}"
            if odd
            else f"class {twice[0]} is named twice; for tasks with common classes give a list of "
            "data sets"
            if twice
            else "a task has no class"
        )
        raise UsageError(f"tasks: {why}.")
    if left := sorted({*range(classes)} - {*every}):
        log.warning("tasks: no task has the classes %s: their examples are left out", _span(left))
    return groups
