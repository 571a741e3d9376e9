"""What a stream owes to its test data: they are new examples, labelled as the training data are."""

from itertools import islice
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from bnnlab.engine.copies import TOLERATED
from bnnlab.interfaces.stream import Task
from bnnlab_testing.example_checks import ExampleChecks

TESTED, LEARNED = 300, 10_000
"""Test examples of a task that are compared, and training examples with which, at most."""
NUMBERS = 20_000_000
"""Numbers in the inputs of either, at most."""
FEW = 5
"""Examples of a class below which nothing is said of it."""
SURE = 0.9
"""The share of examples that tells."""
COPIES, GAP = 10, 0.5
"""Changed copies of an example that there may be, and how much nearer they are than others."""
FAR = 1.5
"""How much farther than others the examples of a test part are that says nothing of its labels."""
LEVELS = 8
"""Numbers of an example that differ, at least, where their order is left out."""


class LikenessChecks(ExampleChecks):
    """The part of `StreamContract` that compares test data with training data of the same task."""

    def test_no_test_example_is_a_changed_training_example(self) -> None:
        """Less than half are training examples that are mirrored, turned, inverted or with noise.

        Divide first, and augment the training part alone: who divides augmented data tests what was
        learned.
        """
        for compared in self._compared():
            share = _share_in_another_order(compared)
            said = f"test examples of {compared.name!r} are training examples"
            assert share <= TOLERATED, (
                f"{share:.0%} of the {said} whose numbers are in another order, scaled or inverted"
            )
            noisy = _share_of_noisy_copies(compared)
            assert noisy < SURE, f"{noisy:.0%} of the {said} with a little noise"

    def test_a_label_means_the_same_in_every_part(self) -> None:
        """The test examples of a class are not those of another class of the training part.

        Number the classes once for all parts. It is found where the nearest training example tells
        the classes apart, and is of one wrong class for nearly all test examples of a class.
        """
        for each in self._compared():
            if not each.are_classes or each.far.median() > FAR * each.usual.median():
                continue  # of another distribution, where what is near says little
            like = {}
            for label in {*each.test_labels.tolist()}:
                found = each.learned_labels[each.nearest][each.test_labels == label]
                like[label] = int(found.mode().values)
                is_sure = len(found) >= FEW and float((found == like[label]).float().mean()) >= SURE
                is_one = all(each.is_told(known) for known in (label, like[label]))
                only = [*like.values()].count(like[label]) == 1
                assert like[label] == label or not (is_sure and is_one and only), (
                    f"what has the label {label} in the test part of {each.name!r} is like what "
                    f"has the label {like[label]} in its training part: number the classes once"
                )

    def _compared(self) -> list["_Compared"]:
        stream = self.make()
        if stream.tokens is not None:
            pytest.skip("its inputs are token ids")
        return [_Compared.of(task) for task in islice(stream, 2)]


class _Compared(NamedTuple):
    """Inputs of a task, float64 (n, numbers) and (N, numbers), and where the nearest ones are.

    Attributes:
        nearest: Of each test example, the training example that is nearest, (n,).
        far: How far that is, (n,).
        distances: To the nearest ones of its class, (n, COPIES + 1); infinity where there are none.
        usual: How far the nearest one of its class is from a training example, (m,).
        told: Labels of some training examples, and that of what is nearest to each, (2, m).
    """

    name: str
    are_classes: bool
    test: Tensor
    test_labels: Tensor
    learned: Tensor
    learned_labels: Tensor
    nearest: Tensor
    far: Tensor
    distances: Tensor
    usual: Tensor
    told: Tensor

    @classmethod
    def of(cls, task: Task) -> "_Compared":
        """Look up some examples of a task, and compare them."""
        room = NUMBERS // task.train.batch(torch.arange(1))[0].numel()
        (test, targets), (learned, labels) = (
            part.batch(torch.arange(len(part))[:: max(1, len(part) // min(most, room))])
            for part, most in ((task.test, TESTED), (task.train, LEARNED))
        )
        test, learned = (each.flatten(1).double() for each in (test, learned))
        are_classes = task.objective.is_of_classes and labels.ndim == 1
        distances = torch.cdist(test, learned)
        far, nearest = distances.min(1)
        if are_classes:
            distances = distances.where(targets[:, None] == labels, torch.inf)
        distances = distances.topk(min(len(learned), COPIES + 1), largest=False).values
        some = torch.arange(len(learned))[:: max(1, len(learned) // TESTED)]
        apart = torch.cdist(learned[some], learned)
        apart[torch.arange(len(some)), some] = torch.inf
        told = torch.stack([labels[some], labels[apart.argmin(1)]]) if are_classes else labels[:0]
        if are_classes:
            apart = apart.where(labels[some][:, None] == labels, torch.inf)
        usual = apart.min(1).values
        each = test, targets, learned, labels, nearest, far, distances
        return cls(task.name, are_classes, *each, usual[usual.isfinite()], told)

    def is_told(self, label: int) -> bool:
        """Return whether nearly all training examples of a class are nearest to one of theirs."""
        own, like = self.told
        found = like[own == label] == label
        return len(found) >= FEW and float(found.float().mean()) >= SURE


def _share_of_noisy_copies(each: _Compared) -> float:
    """Return the share of test examples a few training examples are far nearer to than others."""
    near = each.distances[each.distances.isfinite().all(1)]
    if len(near) < 2 * FEW:
        return 0.0
    are_apart = near[:, :-1] < GAP * near[:, 1:]
    return float(are_apart.any(1).double().mean())


def _share_in_another_order(each: _Compared) -> float:
    """Return the share of test examples whose numbers are those of a training example."""
    learned, test = ([*map(hash, _in_order(inputs))] for inputs in (each.learned, each.test))
    known = {*learned}
    if len(known) < SURE * len(learned) or not test:  # all are of the same numbers, by nature
        return 0.0
    return sum(key in known for key in test) / len(test)


def _in_order(inputs: Tensor) -> list[bytes]:
    """Return the sorted numbers of each input, scaled, and inverted so that large ones are rare."""
    z = inputs - inputs.mean(1, keepdim=True)
    z = z / z.std(1, keepdim=True, correction=0).clamp(min=1e-12)
    z = (z * z.pow(3).sum(1, keepdim=True).sign()).sort(1).values.float().mul(1000).round()
    are_many = (z.diff(dim=1) != 0).sum(1) + 1 >= LEVELS
    return [row.numpy().tobytes() if many else b"" for row, many in zip(z, are_many, strict=True)]
