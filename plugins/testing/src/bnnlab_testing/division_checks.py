"""What a stream owes to its division: of examples into parts, and of classes into tasks."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations, islice

import pytest
import torch
from torch import Tensor

from bnnlab.errors import BnnlabError
from bnnlab.interfaces.stream import TaskStream
from bnnlab_testing.example_checks import ExampleChecks, contents, named_parts, parts_of
from bnnlab_testing.fixed_seeds import others
from bnnlab_testing.varying import other_values

HELD = "validation"
"""The option for the share of training data that is held out."""


class DivisionChecks(ExampleChecks):
    """The part of `StreamContract` that is about classes, what is held out, and pixel orders."""

    def test_every_class_is_learned(self) -> None:
        """Each of the K classes is that of a training example of some task.

        Of more logits than classes, some are never right; and what each task numbers from 0 is no
        class of a data set. Let `classes` count the labels that there are.
        """
        stream = self.make()
        if not stream[0].objective.is_of_classes:
            pytest.skip("its targets are no class per input")
        never = {*range(stream.classes)}.difference(*_classes_of(stream))
        assert not never, (
            f"{len(never)} of {stream.classes} classes are those of no training example of any "
            f"task, first {min(never)}: let `classes` count the labels that there are"
        )

    def test_known_tasks_say_their_classes(self) -> None:
        """Where the task is known, tasks that have no class in common say which are theirs.

        Or predictions are among the classes of all tasks, as if the task was not known. Make each
        `Task` with `classes`, a mask.
        """
        stream = self.make()
        if not stream.gives_task_ids or not stream[0].objective.is_of_classes:
            pytest.skip("its tasks are not known, or its targets are no class per input")
        silent = [found for task, found in zip(stream, _classes_of(stream), strict=True)
                  if task.classes is None]  # fmt: skip
        apart = any(one.isdisjoint(two) for one, two in combinations(silent, 2))
        assert not apart, (
            "gives_task_ids is true, two tasks have no class in common, and neither says its "
            "classes: make each Task with `classes`"
        )

    def test_what_is_held_out_is_training_data(self) -> None:
        """With another value of its option `validation`, test parts hold the same examples.

        A test part that shrinks was chosen by in part. Divide training data into what is learned
        and what is held out. Inputs are compared as they are stored: targets may be scaled by the
        training part, and so are inputs by the mean and std of `Examples`.
        """
        option = next((each for each in self.component.options if each.name == HELD), None)
        if option is None:
            pytest.skip(f"it has no option {HELD!r}")
        usual = _tested(self.make())
        for value in (0.25, 0.0, *other_values(option, self.choice.options[HELD])):
            try:
                found = _tested(self.make(0, self.with_options(**{HELD: value})))
            except BnnlabError:
                continue  # out of range, or not with the other options
            assert found == usual, (
                f"with {HELD}={value!r}, a test part holds other examples, or they are stored in "
                "another scale: give their mean and std to Examples"
            )

    def test_the_order_of_pixels_follows_the_seed(self) -> None:
        """Where a random generator orders the numbers of inputs, the seed decides, and no constant.

        Or repetitions learn the same tasks, and a spread is too small. Let the seed that the stream
        is given decide. The division into parts may be the same in every run.
        """
        self._expect_seeded(_orders, "orders the numbers of inputs")

    def test_labels_and_classes_follow_the_seed(self) -> None:
        """Where a generator changes labels, or orders the classes of tasks, the seed decides.

        With a constant, repetitions learn the same wrong labels, and the same classes first. It is
        found where with another constant the same inputs have other labels, or are of other tasks.
        """
        if not self.make()[0].objective.is_of_classes:
            pytest.skip("its targets are no class per input")
        self._expect_seeded(_labels, "labels inputs, or orders the classes of tasks,")

    def _expect_seeded(
        self, look: Callable[[TaskStream], tuple[object, object]], does: str
    ) -> None:
        """Check that the seed decides what a look returns first; what it returns next stays."""
        (found, fixed), (other, _) = (look(self.make(seed)) for seed in (0, 1))
        if found != other:
            return
        with others(self.host.load(self.plugin, self.component)) as places:
            changed, same = look(self.make())
        is_free = changed == found or same != fixed
        others_differ = (look(self.make(seed))[0] != found for seed in range(2, 6))
        assert is_free or any(others_differ), (  # of few orders, two seeds may draw the same one
            f"what {does} has a fixed seed, at {', '.join(places)}: let it be drawn from the seed "
            "that the stream is given"
        )


def _classes_of(stream: TaskStream) -> Iterator[set[int]]:
    """Yield the classes of each task's training examples."""
    for task in stream:
        yield {*task.train.labels[task.train.rows].tolist()}


def _tested(stream: TaskStream) -> list[Counter[int]]:
    return [Counter(contents(task.test, labelled=False)) for task in stream]


def _labels(stream: TaskStream) -> tuple[object, object]:
    """Return the labelled inputs of all tasks with the classes of each, and the inputs alone."""
    parts = [part for _, _, part in parts_of(stream)]
    pairs, inputs = (
        Counter(each for part in parts for each in contents(part, labelled))
        for labelled in (True, False)
    )
    return (pairs, [*_classes_of(stream)]), inputs


def _orders(stream: TaskStream) -> tuple[list[Counter[bytes]], list[Counter[bytes]]]:
    """Return the inputs of each of two tasks, and the same with their numbers sorted."""
    inputs = [
        torch.cat(
            [part.raw(torch.arange(len(part)))[0].flatten(1) for _, part in named_parts(task)]
        )
        for task in islice(stream, 2)
    ]
    return [*map(_rows, inputs)], [_rows(each.sort(1).values) for each in inputs]


def _rows(inputs: Tensor) -> Counter[bytes]:
    return Counter(row.tobytes() for row in inputs.cpu().numpy())
