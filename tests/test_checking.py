"""What is wrong with a stream is refused, or said, before anything is learned from it."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

import bnnlab
from bnnlab.engine.building import make_tasks, make_unknown
from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples, StoredImages
from bnnlab.interfaces.objectives import IGNORED, ClassPerPosition, RealNumbers
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import choose
from bnnlab.settings.run import EvaluateOn
from bnnlab_testing import toy

Change = Callable[[list[Task]], list[Task]]


class Given(TaskStream):
    """The tasks that it is given."""

    input_shape, classes = toy.INPUT_SHAPE, toy.CLASSES

    def __init__(self, tasks: Sequence[Task], said: Any = None, length: int | None = None) -> None:
        self.tasks = tasks
        self.said = {"scenario": "toy"} if said is None else said
        self.length = len(tasks) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Task:
        return self.tasks[index]

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    def protocol(self) -> Any:
        return self.said


def make(tasks: Sequence[Task], part: EvaluateOn = "test", **more: Any) -> list[Task]:
    return make_tasks(choose(PluginHost(), Kind.STREAM, "digits", {}), Given(tasks, **more), part)


@pytest.fixture
def tasks() -> list[Task]:
    """Return three tasks with data of their own: 40 images to learn from, 20 to test on."""
    return [replace(toy.make_task(index), index=index, name=f"t{index}") for index in range(3)]


def copied(task: Task, count: int, onto: Task, *, label: int = 0) -> Task:
    """Return a task that learns from copies of `count` of the test images of another."""
    pixels, labels = onto.train.pixels.clone(), onto.train.labels.clone()
    pixels[onto.train.rows[:count]] = task.test.pixels[task.test.rows[:count]]
    labels[onto.train.rows[:count]] = (task.test.labels[task.test.rows[:count]] + label) % 3
    train = replace(onto.train, pixels=pixels, labels=labels)
    return replace(onto, train=train, test=replace(onto.test, pixels=onto.test.pixels.clone()))


def test_tasks_as_they_should_be_are_taken_without_a_word(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    assert make(tasks) == tasks
    shuffled = [torch.randperm(36, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    first = tasks[0]
    make(
        [
            replace(
                first,
                index=index,
                train=replace(first.train, permutation=order),
                test=replace(first.test, permutation=order),
            )
            for index, order in enumerate(shuffled)
        ]
    )
    assert not caplog.records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tasks: [replace(task, index=0) for task in tasks],
            r"task 1 \(t1\) has the index 0",
        ),
        (lambda tasks: tasks[::-1], r"task 0 \(t2\) has the index 2"),
        (lambda tasks: [replace(t, index=t.index + 1) for t in tasks], "task 0 .* has the index 1"),
        (lambda tasks: [replace(t, index=np.int64(t.index)) for t in tasks], "task 0 .* np.int64"),
        (lambda tasks: [], "there is no task"),
    ],
    ids=["all 0", "backwards", "from 1", "of NumPy", "none"],
)
def test_tasks_that_are_not_numbered_in_order_are_refused(
    tasks: list[Task], change: Change, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make(change(tasks))


@pytest.mark.parametrize("length", [2, 4])
def test_a_length_that_is_not_the_number_of_tasks_is_refused(
    tasks: list[Task], length: int
) -> None:
    with pytest.raises(UsageError, match=rf"it has 3 tasks, and its len\(\) is {length}"):
        make(tasks, length=length)


@pytest.mark.parametrize(
    "said", [{}, [], "mnist", 7, {"data": None}, {"data": "", "order": []}], ids=repr
)
def test_a_protocol_that_says_nothing_is_refused(tasks: list[Task], said: Any) -> None:
    with pytest.raises(UsageError, match=r"protocol\(\) must describe the data in a dict"):
        make(tasks, said=said)


def test_a_protocol_that_no_json_holds_is_refused(tasks: list[Task]) -> None:
    with pytest.raises(UsageError, match="JSON compliant"):
        make(tasks, said={"share": math.nan})


def test_a_protocol_whose_keys_cannot_be_sorted_is_refused(tasks: list[Task]) -> None:
    with pytest.raises(UsageError, match="not supported between"):
        make(tasks, said={"data": "toy", 3: "parts"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", np.int64(3)),
        ("classes", torch.tensor(3)),
        ("classes", 0),
        ("input_shape", (np.int64(1), 6, 6)),
    ],
)
def test_sizes_that_no_checkpoint_holds_are_refused(
    tasks: list[Task], monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    monkeypatch.setattr(Given, name, value)
    with pytest.raises(UsageError, match="input_shape and classes must be ints above 0"):
        make(tasks)


@pytest.mark.parametrize("names", [["cat"], [*range(toy.CLASSES)], "x" * toy.CLASSES])
def test_names_that_are_not_one_text_per_class_are_refused(
    tasks: list[Task], monkeypatch: pytest.MonkeyPatch, names: Any
) -> None:
    monkeypatch.setattr(Given, "class_names", names)
    with pytest.raises(UsageError, match=f"class_names must be {toy.CLASSES} texts or none"):
        make(tasks)


def test_training_data_that_contain_most_test_data_are_refused(tasks: list[Task]) -> None:
    first = tasks[0]
    with pytest.raises(UsageError, match="11 of 20 test examples of 't0' are in a train"):
        make([copied(first, 11, onto=first), *tasks[1:]])
    with pytest.raises(UsageError, match="20 of 20 test examples of 't0'"):
        make([replace(first, train=first.test), *tasks[1:]])
    with pytest.raises(UsageError, match="20 of 20 test examples of 't0'"):
        make([first, tasks[1], copied(first, 20, onto=tasks[2])])
    with pytest.raises(UsageError, match="20 of 20 test examples of 't0'"):
        make([replace(first, validation=replace(first.test)), *tasks[1:]])
    with pytest.raises(UsageError, match="the validation part of 't0' is its test part"):
        make([replace(first, validation=first.test), *tasks[1:]])
    with pytest.raises(UsageError, match="40 of 40 validation examples of 't0' are in a train"):
        make([replace(first, validation=first.train), *tasks[1:]])


def test_some_copies_are_warned_of_with_their_number(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    make([copied(tasks[0], 3, onto=tasks[0]), tasks[1], copied(tasks[1], 1, onto=tasks[2])])
    (record,) = caplog.records
    assert "3 of 20 (15.0%) in the test part of 't0', 1 of 20 (5.0%) in the test" in record.message


def test_without_the_test_parts_the_others_are_checked(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    secret: Any = toy.Unread()
    tasks = [replace(task, validation=task.test, test=secret) for task in tasks]
    made = make(tasks, "validation")
    assert [(task.test, task.validation) for task in made] == [(t.validation,) * 2 for t in tasks]
    assert not caplog.records
    with pytest.raises(UsageError, match="40 of 40 validation examples of 't1' are in a train"):
        make([tasks[0], replace(tasks[1], validation=tasks[1].train)], "validation")
    worse = replace(tasks[0].train, labels=tasks[0].train.labels + 3)
    with pytest.raises(UsageError, match="labels of the validation part of 't0' go from 3 to 5"):
        make([replace(tasks[0], validation=worse)], "validation")


def test_checks_on_validation_do_not_depend_on_the_test_part(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    train, test = tasks[0].train, tasks[0].test
    pixels = train.pixels[train.rows.repeat(2)[:60]].float()  # test images are training images,
    pixels[50:] = math.nan  # and some are not finite
    parts = [
        replace(train, pixels=pixels, rows=torch.arange(*ends)) for ends in ((0, 30), (30, 40))
    ]
    hidden = replace(test, pixels=pixels)
    task = Task(0, "t0", parts[0], hidden, validation=parts[1])
    make([task], "validation")
    assert not caplog.records
    with pytest.raises(UsageError, match="10 of the 20 examples of the test part"):
        make([task])


def test_an_image_with_another_label_is_another_example(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    make([copied(tasks[0], 20, onto=tasks[0], label=1), *tasks[1:]])
    assert not caplog.records


def test_floats_are_compared_as_bytes_are(tasks: list[Task]) -> None:
    pixels = tasks[0].train.pixels.float() / 255
    train = replace(tasks[0].train, pixels=pixels)
    test = replace(train, pixels=pixels.clone(), rows=train.rows[:20])
    make([replace(tasks[0], train=train, test=replace(tasks[0].test, pixels=pixels)), *tasks[1:]])
    with pytest.raises(UsageError, match="20 of 20 test examples"):
        make([replace(tasks[0], train=train, test=test), *tasks[1:]])


def with_nan(part: Examples, count: int) -> Examples:
    pixels = part.pixels.to(torch.float32, copy=True)
    pixels[part.rows[:count], 0, 2, 3] = math.nan
    return replace(part, pixels=pixels)


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_pixels_that_are_not_finite_are_refused_with_their_part(
    tasks: list[Task], name: str
) -> None:
    first, *rest = tasks
    first = replace(first, train=with_nan(first.train, 0), test=with_nan(first.test, 0))
    part = with_nan(first.test if name == "test" else first.train, 7)
    with pytest.raises(UsageError, match=rf"7 of the \d+ examples of the {name} part of 't0'"):
        make([replace(first, **{name: part}), *rest])
    unused = replace(part, rows=part.rows[7:])
    if name != "validation":
        assert make([replace(first, **{name: unused}), *rest])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part: {"std": part.std * 0}, "mean and std of {}.*, and std above 0"),
        (lambda part: {"mean": part.mean * math.inf}, "mean and std of {} must be finite"),
        (
            lambda part: {"labels": part.labels.float()},
            "labels of {} must be int64.* torch.float32",
        ),
        (lambda part: {"labels": part.labels.byte()}, "labels of {} must be int64"),
        (lambda part: {"labels": part.labels[:, None]}, r"labels of {} must .*of shape \(N,\)"),
        (lambda part: {"labels": part.labels[:50]}, r"labels of {} must be 60, one per row of"),
        (lambda part: {"labels": part.labels - 1}, "labels of {} go from -1 to 1, and the classes"),
        (lambda part: {"rows": torch.arange(60) < 40}, "rows of {} must be int64.* torch.bool"),
        (
            lambda part: {"rows": part.rows + 57},
            r"rows of {} go from \d+ to \d+, and the last is 59",
        ),
        (lambda part: {"rows": part.rows - 99}, "rows of {} go from -"),
        (lambda part: {"labels": part.labels.tolist()}, "labels of {} must be a tensor, and is .0"),
        (lambda _: {"std": 1.0}, "std of {} must be a tensor, and is 1.0"),
        (lambda part: {"pixels": part.pixels.numpy()}, "pixels of {} must be a tensor"),
        (lambda _: {"permutation": torch.zeros(36).long()}, "of {} must hold each of 0 to 35 once"),
    ],
)
@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_a_part_that_is_no_examples_is_refused_in_words(
    tasks: list[Task], name: str, change: Callable[[Examples], dict[str, Any]], message: str
) -> None:
    first, *rest = tasks
    part = first.test if name == "test" else first.train
    broken = replace(part, **change(part))
    with pytest.raises(UsageError, match=message.format(f"the {name} part of 't0'")):
        make([replace(first, **{name: broken}), *rest])


@pytest.mark.parametrize("name", ["validation", "test"])
def test_an_image_that_would_be_scored_twice_is_refused(tasks: list[Task], name: str) -> None:
    first, *rest = tasks
    part = first.test if name == "test" else first.train
    twice = replace(part, rows=torch.cat([part.rows, part.rows[:1]]))
    with pytest.raises(UsageError, match=f"rows of the {name} part of 't0' name an example more"):
        make([replace(first, **{name: twice}), *rest])
    if name == "test":
        more = replace(first.train, rows=first.train.rows.repeat(2))
        assert make([replace(first, train=more), *rest]), "it may be learned from more often"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (torch.tensor([0, 1]), r"must be bool of shape \(3,\)"),
        ([0, 1], r"must be bool of shape \(3,\)"),
        (torch.tensor([True, True, False]), "labels that are none of the task's classes"),
    ],
)
def test_classes_of_a_task_that_its_labels_are_not_in_are_refused(
    tasks: list[Task], monkeypatch: pytest.MonkeyPatch, classes: Any, message: str
) -> None:
    monkeypatch.setattr(Given, "gives_task_ids", True)
    with pytest.raises(UsageError, match=message):
        make([replace(tasks[0], classes=classes), *tasks[1:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part: replace(part, pixels=part.pixels / 255), "float32 and of torch.uint8"),
        (lambda part: replace(part, permutation=torch.randperm(36)), "permuted in different ways"),
        (lambda part: TensorDataset(part.labels), "test part of 't0' must be Examples, and is"),
    ],
)
def test_a_test_part_that_is_shown_in_another_way_is_refused(
    tasks: list[Task], change: Callable[[Examples], Any], message: str
) -> None:
    first, *rest = tasks
    with pytest.raises(UsageError, match=message):
        make([replace(first, test=change(first.test)), *rest])


def test_a_test_part_that_is_normalised_in_another_way_is_warned_of(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    first, *rest = tasks
    same = first.test.mean.expand(1, 1, 1).clone()
    make([replace(first, test=replace(first.test, mean=same)), *rest])
    assert not caplog.records
    make([replace(first, test=replace(first.test, mean=same + 1)), *rest])
    assert "normalised by other mean or std: 't0'" in caplog.text


@dataclass
class Unhashable:
    factor: int = 1

    def __call__(self, images: Tensor, _: torch.Generator) -> Tensor:
        return images * self.factor


def test_an_augmentation_need_not_be_hashable(tasks: list[Task]) -> None:
    first, *rest = tasks
    make([replace(first, train=replace(first.train, augment=Unhashable())), *rest])


class Stored(StoredImages):
    """Images that nobody may read."""

    shape = (60, *toy.INPUT_SHAPE)

    def read(self, pieces: Sequence[Tensor]) -> Iterator[Tensor]:
        raise NotImplementedError


def test_stored_images_are_told_apart_by_digests_or_their_place_without_reading_them(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    def stored(part: Examples) -> Examples:
        return replace(part, pixels=images)

    images = Stored()
    first, *rest = tasks
    fine = replace(first, train=stored(first.train), test=stored(first.test))
    make([fine, *rest])
    images.digests = [bytes([number]) for number in range(60)]
    make([fine, *rest])
    assert not caplog.records
    with pytest.raises(UsageError, match="20 of 20 test examples"):
        make([replace(fine, train=fine.test), *rest])
    images.digests = [b"all alike"] * 60
    with pytest.raises(
        UsageError, match=r"\d+ of 20 test examples .* are in a train or validation part, too"
    ):
        make([fine, *rest])


@pytest.mark.parametrize("part", ["train", "test", "validation"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: replace(p, pixels=p.pixels[..., :5]),
            r"pixels of the .* part of 't1' have shape \(1, 6, 5\)",
        ),
        (
            lambda p: replace(p, permutation=torch.arange(30)),
            "permutation of .* must hold each of 0 to 35",
        ),
        (lambda p: replace(p, labels=p.labels + 3), "labels of the .* part of 't1' go from 3 to 5"),
        (lambda p: replace(p, rows=p.rows[:0]), "part of 't1' has no example"),
    ],
    ids=["shape", "order", "labels", "empty"],
)
def test_a_part_that_no_model_could_be_shown_is_refused(
    tasks: list[Task], part: str, change: Callable[[Examples], Examples], message: str
) -> None:
    changed = change(tasks[1].train if part == "validation" else getattr(tasks[1], part))
    tasks[1] = replace(tasks[1], **{part: changed})
    with pytest.raises(UsageError, match=message):
        make(tasks)


# ---------------------------------------------------------------------------- what is unknown


def unknown_of(tasks: list[Task], unknown: Any) -> Any:
    """Return what a run makes of what the stream says is unknown."""
    stream = Given(tasks)
    stream.out_of_distribution = lambda: unknown  # type: ignore[method-assign]
    return make_unknown(choose(PluginHost(), Kind.STREAM, "digits", {}), stream, tasks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pixels, r"out_of_distribution\(\) must be Examples"),
        (lambda p: replace(p, rows=p.rows[:0]), "has no example"),
        (lambda p: replace(p, pixels=p.pixels[..., :5]), r"have shape \(1, 6, 5\)"),
        (
            lambda p: replace(p, pixels=p.pixels / 255),
            "pixels of torch.float32 and of torch.uint8",
        ),
        (
            lambda p: replace(p, permutation=torch.arange(30)),
            "permutation of .* must hold each of 0 to 35",
        ),
        (lambda p: replace(p, mean=torch.zeros(2, 1, 1)), "doesn't match the broadcast shape"),
        (lambda p: replace(p, labels=p.labels + 3), "labels of .* go from 3 to 5"),
        (lambda p: replace(p, labels=p.labels[:5]), "labels of .* must be 60"),
        (lambda p: with_nan(p, 3), "3 of the 20 examples of out_of_distribution"),
    ],
    ids=["tensor", "empty", "shape", "unit", "order", "mean", "labels", "few labels", "NaN"],
)
def test_unknown_inputs_that_no_model_could_be_shown_are_refused_before_training(
    tasks: list[Task], change: Callable[[Examples], Any], message: str
) -> None:
    with pytest.raises(UsageError, match=rf"failed when its out_of_distribution\(\).*{message}"):
        unknown_of(tasks, change(toy.make_task(7).test))


def test_unknown_inputs_that_the_tasks_show_are_refused(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    new = toy.make_task(7).test
    assert unknown_of(tasks, new) is new
    order = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    unknown_of(tasks, replace(tasks[0].test, permutation=order))
    assert not caplog.records
    labelled = replace(tasks[2].train, labels=(tasks[2].train.labels + 1) % 3)
    for known in (tasks[0].train, tasks[1].test, labelled):
        count = len(known)
        with pytest.raises(UsageError, match=f"{count} of {count} examples of .* are images of"):
            unknown_of(tasks, replace(known, pixels=known.pixels.clone()))
    pixels = new.pixels.clone()
    pixels[new.rows[:3]] = tasks[0].test.pixels[tasks[0].test.rows[:3]]
    unknown_of(tasks, replace(new, pixels=pixels))
    assert "3 of 20 examples of out_of_distribution() are images of the tasks" in caplog.text


def test_tasks_that_share_everything_are_said(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = tasks
    again = replace(copied(first, 0, onto=first), index=2, name="t2")
    make([first, second, again])
    (record,) = caplog.records
    assert "an earlier one again, train and test: 3 (t2) is 1 (t0)" in record.getMessage()


@pytest.mark.parametrize("name", ["digits", "permuted-digits", "split-digits", "chunked-digits"])
def test_the_streams_of_digits_have_nothing_to_be_warned_of(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    bnnlab.create("stream", name)
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.skipif("BNNLAB_DATA" not in os.environ, reason="BNNLAB_DATA names no real data")
def test_mnist_has_no_copies_across_its_parts(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("mnist", "permuted-mnist"):
        bnnlab.create("stream", name)
    assert not caplog.records


# ---------------------------------------------------------------------------- other objectives


def real(task: Task, **changes: Any) -> Task:
    """Return a task whose targets are three real numbers."""
    numbers = torch.randn(60, 3, generator=torch.Generator().manual_seed(task.index))
    train, test = (replace(part, labels=numbers) for part in (task.train, task.test))
    return replace(task, train=train, test=test, objective=RealNumbers(), **changes)


def per_row(task: Task, labels: Tensor | None = None, **changes: Any) -> Task:
    """Return a task with a class for each of the six rows of an image."""
    labels = task.train.labels[:, None].expand(60, 6).clone() if labels is None else labels
    train, test = (replace(part, labels=labels) for part in (task.train, task.test))
    return replace(task, train=train, test=test, objective=ClassPerPosition(), **changes)


def relabelled(task: Task, change: Callable[[Tensor], Tensor]) -> Task:
    train, test = (replace(it, labels=change(it.labels)) for it in (task.train, task.test))
    return replace(task, train=train, test=test)


def test_real_numbers_and_classes_per_position_are_taken_without_a_word(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    assert make([real(task) for task in tasks])
    ignored = per_row(tasks[0])
    ignored.train.labels[:, 1:] = IGNORED
    assert make([ignored, *map(per_row, tasks[1:])])
    assert not caplog.records
    copied = real(tasks[0])
    copied = replace(copied, test=replace(copied.train, pixels=copied.train.pixels.clone()))
    with pytest.raises(UsageError, match="40 of 40 test examples of 't0' are in a train"):
        make([copied])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y.double(), r"labels of the train part of 't0' must be float32 of .*\(N, 3\)"),
        (lambda y: y[:, :2], r"must be float32 of shape \(N, 3\), and are .*shape \(40, 2\)"),
        (lambda y: y[:, 0], r"and are torch.float32 of shape \(40,\)"),
        (lambda y: y * math.inf, "labels of the train part of 't0' are not all finite"),
        (torch.ones_like, "labels of the test part of 't0' are all the same, and R2 compares"),
    ],
    ids=["double", "two numbers", "vector", "inf", "equal"],
)
def test_real_numbers_that_cannot_be_learned_or_scored_are_refused(
    tasks: list[Task], change: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make([relabelled(real(tasks[0]), change)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:, 0], r"must be int64 of shape \(N, \.\.\.\), classes, and are"),
        (lambda y: y.int(), "and are torch.int32 of shape"),
        (lambda y: y + 1, "go from 1 to 3, and the classes from 0 to 2"),
        (lambda y: torch.full_like(y, IGNORED), "have a row without a class: all its positions"),
    ],
    ids=["vector", "int32", "beyond", "ignored"],
)
def test_classes_per_position_that_are_none_are_refused(
    tasks: list[Task], change: Callable[[Tensor], Tensor], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make([relabelled(per_row(tasks[0]), change)])


def test_targets_of_two_kinds_are_refused(tasks: list[Task]) -> None:
    kinds = "a class per input, of shape .. each, in the train part of 't0' and real numbers"
    with pytest.raises(UsageError, match=f"all targets must be of one kind, and are {kinds}"):
        make([tasks[0], real(tasks[1])])
    shorter = per_row(tasks[1], tasks[1].train.labels[:, None].expand(60, 5))
    with pytest.raises(UsageError, match=r"of shape \(6,\) each, .* of shape \(5,\) each"):
        make([per_row(tasks[0]), shorter])
    odd: Any = "R2"
    with pytest.raises(UsageError, match="the objective of 't0' is no Objective, but 'R2'"):
        make([replace(tasks[0], objective=odd)])


def test_a_mask_goes_with_classes_alone(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Given, "gives_task_ids", True)
    every, two = torch.ones(3, dtype=torch.bool), torch.tensor([True, True, False])
    with pytest.raises(UsageError, match="'t0' says its classes, and its targets are real numbers"):
        make([real(tasks[0], classes=every)])
    assert make([per_row(tasks[0], classes=every)])
    with pytest.raises(UsageError, match="labels that are none of the task's classes"):
        make([per_row(tasks[0], classes=two)])


# ---------------------------------------------------------------------------- token ids


def test_token_ids_are_declared(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(**changes: Any) -> list[Task]:
        bare = {"pixels": tasks[0].train.pixels.long(), "mean": None, "std": None, **changes}
        train, test = (replace(part, **bare) for part in (tasks[0].train, tasks[0].test))
        return [replace(tasks[0], train=train, test=test)]

    with pytest.raises(UsageError, match=r"are torch.int64: numbers must be uint8 or float32. If "):
        make(shown())
    monkeypatch.setattr(Given, "tokens", 256)
    assert make(shown())
    inputs, _ = shown()[0].train.batch(torch.arange(4))
    assert inputs.dtype == torch.int64
    with pytest.raises(UsageError, match="must be token ids, int64 and without mean and std"):
        make(shown(mean=torch.zeros(())))
    with pytest.raises(UsageError, match=r"tokens = 256; they are torch.uint8"):
        make(tasks)
    monkeypatch.setattr(Given, "tokens", 200)
    with pytest.raises(UsageError, match=r"token ids of .* go from \d+ to \d+, and tokens = 200"):
        make(shown())
    monkeypatch.setattr(Given, "tokens", 0)
    with pytest.raises(UsageError, match="tokens must be an int above 0 or None, and is 0"):
        make(shown())


def test_numbers_need_neither_mean_nor_std(
    tasks: list[Task], caplog: pytest.LogCaptureFixture
) -> None:
    first = tasks[0]
    train, test = (replace(part, mean=None, std=None) for part in (first.train, first.test))
    make([replace(first, train=train, test=test)])
    inputs, _ = train.batch(torch.arange(5))
    assert torch.equal(inputs, first.train.raw(torch.arange(5))[0].float())
    centred, _ = replace(train, mean=first.train.mean).batch(torch.arange(5))
    assert torch.equal(centred, inputs - first.train.mean)
    assert not caplog.records
    make([replace(first, train=train)])
    assert "normalised by other mean or std: 't0'" in caplog.text
