"""What a stream owes to its figures: inputs tell neither the label nor what is in the test part."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from bnnlab.engine.copies import content
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task
from bnnlab_testing.example_checks import ExampleChecks, place

FEW = 10
"""Examples of a class below which inputs may be alike by chance."""
MANY = 2000
"""Examples of a task among which the label is looked for."""
NEAR_ZERO, NEAR_ONE = 1e-5, 1e-3
"""How far a mean and a deviation may be from 0 and 1, which they are but for rounding."""


class LeakChecks(ExampleChecks):
    """The part of `StreamContract` that is about what inputs must not tell."""

    def test_no_input_holds_the_label(self) -> None:
        """No number of an input has one value for each class: a model would read the label there.

        Leave the target out, in every encoding, where inputs are made of a table's columns.
        """
        for task in self.make():
            if not task.objective.is_of_classes or task.train.labels.ndim > 1:
                continue
            count = len(task.train)
            inputs, labels = task.train.batch(torch.arange(count)[:: max(1, count // MANY)])
            columns = _columns_of_the_label(inputs.flatten(1), labels)
            places = ", ".join(map(str, columns[:5]))
            assert not columns, (
                f"inputs of {task.name!r} hold the label: number {places} "
                "of each has one value for a class. Leave it out"
            )

    def test_test_data_are_not_normalised_by(self) -> None:
        """Means and deviations are those of training data: nothing is known yet of test data.

        Split first, measure the training part, and scale all parts by that. It is found where the
        data have mean 0 and deviation 1 if test data are counted in, and not without them.
        """
        stream, sums = self.make(), _Cache()
        if stream.tokens is not None:
            pytest.skip("its inputs are token ids")
        tasks = list(stream)
        learned = [part for task in tasks for part in _learned(task)]
        fair = [[task.train for task in tasks], learned]
        unfair = [[*learned, *(task.test for task in tasks)]]
        holds_test = any(task.test.pixels is tasks[0].train.pixels for task in tasks)
        (unfair if holds_test else fair).append(_table(tasks[0].train))
        for task in tasks:
            mine = _learned(task)
            fair_here = [*fair, mine[:1], mine]
            unfair_here = [*unfair, [task.train, task.test], [*mine, task.test]]
            said = f"{task.name!r}: measure mean and deviation on the training part alone"
            if not any(map(sums.are_standard, fair_here)):
                is_leak = any(map(sums.are_standard, unfair_here))
                assert not is_leak, f"{said}: they are those of data that include the test part"
            half = replace(task.test, rows=task.test.rows[::2])
            is_own = sums.are_standard([task.test]) and not sums.are_standard([half])
            assert not is_own, f"{said}: those of the test part are its own"


class _Sums(NamedTuple):
    """Sums over inputs: of their numbers and of the squares, float64 of the shape of an input."""

    inputs: int
    first: Tensor
    second: Tensor
    are_whole: bool  # all numbers

    def are_standard(self) -> bool:
        """Return whether the mean is 0 and the deviation 1, over inputs or also within them."""
        if self.are_whole or not self.inputs:  # -1 and +1 in equal numbers are, by nature
            return False
        dims = range(self.first.ndim)
        for over in {(), tuple(dims[1:]), tuple(dims[:-1]), tuple(dims)}:
            both = (each / self.inputs for each in (self.first, self.second))
            mean, square = (each.mean(over) if over else each for each in both)
            deviation = (square - mean**2).clamp(min=0).sqrt()
            count = self.inputs * self.first.numel() / mean.numel()
            of_sample = deviation * (count / max(1, count - 1)) ** 0.5
            is_one = torch.minimum((deviation - 1).abs(), (of_sample - 1).abs()) < NEAR_ONE
            fits = (mean.abs() < NEAR_ZERO) & (is_one | (deviation < NEAR_ZERO))
            if bool(fits.all() & is_one.any()):
                return True
        return False


class _Cache:
    """The sums of parts, each summed once."""

    def __init__(self) -> None:
        self._known: dict[object, _Sums] = {}

    def are_standard(self, parts: Sequence[Examples]) -> bool:
        """Return whether the inputs of these parts together are; a part counts once."""
        sums = {}
        for part in parts:
            shown = part.rows, part.mean, part.std, part.permutation
            key = place(part), *map(content, shown)
            if key not in self._known:
                self._known[key] = _summed(part)
            sums[key] = self._known[key]
        return bool(sums) and _joined([*sums.values()]).are_standard()


def _summed(part: Examples) -> _Sums:
    sums = []
    for positions in torch.split(torch.arange(len(part)), 1000):
        x = part.batch(positions)[0].double()
        sums.append(_Sums(len(x), x.sum(0), (x * x).sum(0), torch.equal(x, x.round())))
    return _joined(sums)


def _joined(sums: Sequence[_Sums]) -> _Sums:
    inputs, first, second, are_whole = zip(*sums, strict=True)
    return _Sums(sum(inputs), torch.stack(first).sum(0), torch.stack(second).sum(0), all(are_whole))


def _learned(task: Task) -> list[Examples]:
    return [task.train, *([] if task.validation is None else [task.validation])]


def _table(part: Examples) -> list[Examples]:
    """Return all rows of the data that a part is of, if they are in memory."""
    if not isinstance(part.pixels, Tensor):
        return []
    return [replace(part, rows=torch.arange(len(part.pixels)))]


def _columns_of_the_label(inputs: Tensor, labels: Tensor) -> list[int]:
    """Return which numbers of inputs (B, F) have one value per class, if these tell it."""
    classes, counts = torch.unique(labels, return_counts=True)
    if len(classes) < 2 or int(counts.min()) < FEW:
        return []
    groups = [inputs[labels == each] for each in classes]
    low = torch.stack([group.amin(0) for group in groups])
    high = torch.stack([group.amax(0) for group in groups])
    telling = (low == high).all(0) & (low != low[0]).any(0)
    told = len(torch.unique(low[:, telling], dim=0)) if telling.any() else 0
    return telling.nonzero().flatten().tolist() if told == len(classes) else []
