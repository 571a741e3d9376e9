"""Data of one's own become streams: what is read, divided, normalised, hashed and refused."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import bnnlab
from bnnlab import Classes, ClassPerPosition, RealNumbers, Task, UsageError
from bnnlab.engine.checking import check_tasks
from bnnlab.interfaces.stream import protocol_hash

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 6
IMAGES = torch.randint(0, 256, (60, 4, 5), generator=torch.Generator().manual_seed(1)).byte()


class Items(Dataset[Any]):
    """Pairs by index, as somebody may write them: it raises no IndexError."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Any:
        return self.make(index % 60)


class Unsized(Dataset[Any]):
    """Pairs by index, nobody knows how many."""

    def __getitem__(self, index: int) -> Any:
        return X[index], Y[index]


class Turned(TensorDataset):
    """A set of tensors that shows them turned around."""

    def __getitem__(self, index: int) -> Any:
        return tuple(each.flip(0) if each.ndim else each for each in super().__getitem__(index))


class Once(IterableDataset[Any]):
    """Pairs that are gone when they were read."""

    def __init__(self) -> None:
        self.pairs = zip(X, Y, strict=True)

    def __iter__(self) -> Iterator[Any]:
        return self.pairs


class Flow(IterableDataset[Any]):
    """Pairs one after another, without a length."""

    def __iter__(self) -> Iterator[Any]:
        yield from zip(X, Y, strict=True)


def digest(stream: Any) -> str:
    return protocol_hash(stream.protocol())


def inputs(task: Task, part: str = "train") -> tuple[Tensor, Tensor]:
    examples = getattr(task, part)
    found: tuple[Tensor, Tensor] = examples.batch(torch.arange(len(examples)))
    return found


ALIKE: dict[str, Any] = {
    "float64 arrays and int32 labels": (X.double().numpy(), Y.numpy().astype(np.int32)),
    "an array in another order of bytes": (X.numpy().astype(">f4"), Y.numpy()),
    "a view": (torch.stack([X, X], 2)[..., 0], Y.byte()),
    "with gradients": (X.clone().requires_grad_(), Y),
    "a TensorDataset": TensorDataset(X, Y),
    "a data set": Items(lambda index: (X[index], int(Y[index]))),
    "a data set of arrays": Items(lambda index: [X[index].numpy(), Y[index].numpy()]),
    "a data set without a length": Flow(),
    "a set of tensors that shows others": Turned(X.flip(1), Y),
}


@pytest.mark.parametrize("name", ALIKE)
def test_the_same_data_in_any_form_are_the_same_stream(name: str) -> None:
    stream = bnnlab.stream_from(ALIKE[name], test=0.2)
    same = bnnlab.stream_from((X, Y), test=0.2)
    assert digest(stream) == digest(same)
    for one, other in zip(inputs(stream[0]), inputs(same[0]), strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
    check_tasks(stream, [*stream])


KINDS: dict[str, tuple[Any, Any, Any, tuple[int, ...], torch.dtype, int]] = {
    "classes": (X, Y, Classes(), (3,), torch.float32, 6),
    "a number per input": (X[:, 0], X[:, 1], RealNumbers(), (1,), torch.float32, 1),
    "numbers": (X, X[:, :2].double(), RealNumbers(), (3,), torch.float32, 2),
    "images without a channel": (IMAGES, Y, Classes(), (1, 4, 5), torch.uint8, 6),
    "images of bits": (IMAGES > 100, Y, Classes(), (1, 4, 5), torch.uint8, 6),
    "sequences": (X.view(20, 3, 3), Y[:20], Classes(), (3, 3), torch.float32, 6),
    "a class per pixel": (
        IMAGES[:, None].float(), (IMAGES > 99).long(), ClassPerPosition(), (1, 4, 5),
        torch.float32, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_targets_say_what_is_learned_and_inputs_how_they_are_stored(name: str) -> None:
    x, y, objective, shape, dtype, outputs = KINDS[name]
    stream = bnnlab.stream_from((x, y), test=0.25)
    (task,) = stream
    assert task.objective == objective
    assert (stream.input_shape, stream.classes) == (shape, outputs)
    assert task.train.pixels.dtype == dtype
    check_tasks(stream, [task])


def test_token_ids_need_their_number_and_stay_as_they_are() -> None:
    ids = torch.randint(0, 9, (40, 7), generator=torch.Generator().manual_seed(0))
    with pytest.raises(
        UsageError, match=r"say how many there are, as tokens=1000\. If .* x\.float"
    ):
        bnnlab.stream_from((ids, ids), test=0.2)
    stream = bnnlab.stream_from((ids.int(), ids), test=0.2, tokens=9, classes=9)
    found, targets = inputs(stream[0])
    assert (stream.tokens, stream.classes, stream.input_shape) == (9, 9, (7,))
    assert found.dtype == torch.int64
    assert torch.equal(found, targets)
    check_tasks(stream, [*stream])


@pytest.mark.rounding
def test_a_model_of_token_ids_learns_them() -> None:
    ids = torch.arange(200)[:, None] * 7 % torch.tensor([11, 5, 3])
    stream = bnnlab.stream_from((ids, ids), test=0.2, tokens=11, classes=11)
    made = []

    def make(tokens: int, classes: int) -> torch.nn.Module:
        made.append((tokens, classes))
        parts = torch.nn.Embedding(tokens, 16), torch.nn.Linear(16, classes)
        return torch.nn.Sequential(*parts)

    result = bnnlab.run(
        model=make, rule="bp", optimizer="adam", stream=stream, batch_size=10, epochs=30
    )
    assert made == [(11, 11)]
    assert "top-1 accuracy per position" in result.protocol_description["score"]
    assert result["average_accuracy"] > 0.5  # it copies; chance is 1/11


# -------------------------------------------------------------------- what is held out


def rows(stream: Any, part: str, task: int = 0) -> set[int]:
    found = getattr(stream[task], part).rows.tolist()
    assert len({*found}) == len(found)
    return {*found}


def test_shares_are_held_out_by_the_seed_and_of_each_class() -> None:
    stream = bnnlab.stream_from((X, Y), test=0.2, validation=0.25, seed=3)
    parts = [rows(stream, name) for name in ("train", "test", "validation")]
    assert [len(part) for part in parts] == [36, 12, 12]
    assert set.union(*parts) == {*range(60)}
    for part in parts:
        assert np.bincount(Y[[*part]]).tolist() == [len(part) // 6] * 6
    again = bnnlab.stream_from((X, Y), test=0.2, validation=0.25, seed=3)
    other = bnnlab.stream_from((X, Y), test=0.2, validation=0.25, seed=4)
    assert digest(stream) == digest(again) != digest(other)
    real = bnnlab.stream_from((X, X), test=0.2)
    assert len(rows(real, "test")) == 12


def test_classes_that_are_scored_and_never_learned_are_said(caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "bnnlab"):
        bnnlab.stream_from((X, Y), test=(X, Y))
        assert not caplog.text
        bnnlab.stream_from((X, torch.arange(60)), test=0.2)
    assert "test: there are examples of classes that no task learns, 12 in all, f" in caplog.text


def test_a_list_is_a_task_each_and_its_test_data_are_one_or_one_each() -> None:
    halves = [(X[:30], Y[:30]), (X[30:], Y[30:])]
    shared = bnnlab.stream_from(halves, test=(X[:9], Y[:9]))
    each = bnnlab.stream_from(halves, test=[(X[:9], Y[:9]), (X[30:], Y[30:])])
    share = bnnlab.stream_from(halves, test=0.1)
    assert [len(stream) for stream in (shared, each, share)] == [2, 2, 2]
    assert shared[0].test.pixels is shared[1].test.pixels
    assert [len(task.test) for task in each] == [9, 30]
    assert [task.name for task in share] == ["task 1", "task 2"]
    assert share[0].classes is None
    told = bnnlab.stream_from([halves[0], (X[::2], Y[::2])], test=0.2, task_ids=True)
    masks = [task.classes for task in told]
    assert [mask.tolist() for mask in masks if mask is not None] == [[True] * 6, [True, False] * 3]


@pytest.mark.parametrize("targets", [Y, X[:, :1]])
def test_the_same_examples_in_another_form_are_held_out_in_each_task(targets: Tensor) -> None:
    forms = [(X, targets), (X.flip(1), targets), (X[:40], targets[:40])]
    stream = bnnlab.stream_from(forms, test=0.2, validation=0.2)
    for part in ("test", "validation"):
        assert rows(stream, part, 0) == rows(stream, part, 1) != rows(stream, part, 2)


def test_a_task_that_is_told_has_the_classes_that_it_learns() -> None:
    halves = [(X[Y < 3], Y[Y < 3]), (X[Y >= 3], Y[Y >= 3])]
    told = bnnlab.stream_from(halves, test=0.2, task_ids=True)
    masks = [task.classes.tolist() for task in told if task.classes is not None]
    assert masks == [[True] * 3 + [False] * 3, [False] * 3 + [True] * 3]
    with pytest.raises(UsageError, match=r"test: 'task 1' has examples of class 3, and learns no"):
        bnnlab.stream_from(halves, test=(X, Y), task_ids=True)
    assert bnnlab.stream_from(halves, test=(X, Y))[0].classes is None


# -------------------------------------------------------------------- tasks


def test_classes_are_divided_into_tasks_evenly_or_as_said(caplog: Any) -> None:
    even = bnnlab.stream_from((X, Y), test=0.2, tasks=np.int64(3))
    assert [task.name for task in even] == ["classes 0-1", "classes 2-3", "classes 4-5"]
    assert [sorted({*inputs(task)[1].tolist()}) for task in even] == [[0, 1], [2, 3], [4, 5]]
    assert all(task.classes is None for task in even)
    with caplog.at_level(logging.WARNING, "bnnlab"):
        said = bnnlab.stream_from((X, Y), test=0.2, tasks=[[5, 0], [3]], task_ids=True)
    assert "no task has the classes 1, 2, 4: their examples are left out" in caplog.text
    assert [task.name for task in said] == ["classes 5, 0", "classes 3"]
    masks = [task.classes.nonzero().flatten().tolist() for task in said if task.classes is not None]
    assert masks == [[0, 5], [3]]
    named = bnnlab.stream_from((X, Y), test=0.2, tasks=3, class_names=[*"abcdef"])
    assert [task.name for task in named] == ["a b", "c d", "e f"]
    for stream in (even, said, named):
        check_tasks(stream, [*stream])


# -------------------------------------------------------------------- normalisation


def test_inputs_are_normalised_by_the_training_data_per_channel() -> None:
    """Against NumPy, in float64."""
    images = torch.rand(50, 2, 3, 4, generator=torch.Generator().manual_seed(0)) * 9 - 2
    stream = bnnlab.stream_from((images, Y[:50]), test=(images[:5] + 3, Y[:5]), tasks=2)
    given = images.double().numpy()
    mean, std = (f(given, (0, 2, 3), keepdims=True)[0] for f in (np.mean, np.std))
    for task in stream:
        assert np.allclose(task.train.mean, mean, atol=1e-6)
        assert np.allclose(task.test.std, std, atol=1e-6)
    held = bnnlab.stream_from((X, Y), test=0.2)[0]
    assert held.train.mean is not None
    assert np.allclose(held.train.mean, X[held.train.rows].double().numpy().mean(0), atol=1e-6)


def offset(at: float, spread: float) -> np.ndarray[Any, Any]:
    return at + spread * X.double().numpy()


@pytest.mark.parametrize(("at", "spread"), [(0, 1e-30), (1e4, 5e-3), (-1e6, 1.0)])
def test_inputs_that_differ_little_are_normalised(at: float, spread: float, caplog: Any) -> None:
    x = offset(at, spread).astype(np.float32)
    with caplog.at_level(logging.WARNING, "bnnlab"):
        task = bnnlab.stream_from((x, Y), test=(x, Y))[0]
    std = x.astype(np.float64).std(0)
    assert task.train.std is not None
    assert np.allclose(task.train.std, std, rtol=1e-6, atol=0)
    assert not caplog.text


def test_what_float32_rounds_away_is_said(caplog: Any) -> None:
    far = offset(1e9, 1)
    with caplog.at_level(logging.WARNING, "bnnlab"):
        bnnlab.stream_from((far, far[:, :1] / 10), test=0.2)
        rounding = torch.ones(60, 2)
        rounding[3, 1] += 1e-7
        stream = bnnlab.stream_from((rounding, Y), test=(rounding, Y))
    inputs_said, targets_said, normalise_said = (each.getMessage() for each in caplog.records)
    said = "are stored as float32, which rounds by more than 0.01 of the standard deviation in "
    assert f"train: the inputs {said}3 of the numbers of a row, first in number 0" in inputs_said
    assert f"train: the targets {said}1 of" in targets_said
    assert "normalise: 1 of 2 numbers differ by no more than float32 rounds" in normalise_said
    assert float(inputs(stream[0])[0].abs().max()) < 1e-6


def test_other_normalisations_are_said_and_hashed() -> None:
    plain = bnnlab.stream_from((X, Y), test=0.2, normalise="none")
    assert torch.equal(inputs(plain[0])[0], X[plain[0].train.rows])
    numbers = bnnlab.stream_from((X, Y), test=0.2, normalise=(1, [1.0, 2.0, 4.0]))
    wanted = (X[numbers[0].train.rows] - 1) / torch.tensor([1.0, 2, 4])
    assert torch.equal(inputs(numbers[0])[0], wanted)
    constant = bnnlab.stream_from((torch.ones(60, 2), Y), test=0.2)
    assert torch.equal(inputs(constant[0])[0], torch.zeros(48, 2))
    usual = bnnlab.stream_from((X, Y), test=0.2)
    assert len({*map(digest, (plain, numbers, usual))}) == 3


# -------------------------------------------------------------------- the protocol


def test_the_protocol_covers_inputs_targets_parts_and_tasks() -> None:
    base = {"train": (X, Y), "test": (X[:12], Y[:12])}
    other = X.clone()
    other[7, 1] += 1e-6
    swapped = Y.clone()
    swapped[[3, 4]] = swapped[[4, 3]]
    variants = [
        base,
        {**base, "train": (other, Y)},
        {**base, "train": (X, swapped)},
        {**base, "test": (X[:6], Y[:6])},
        {**base, "train": (X.flip(0), Y.flip(0))},
        {**base, "validation": 0.2},
        {**base, "tasks": 2},
        {**base, "tasks": [[3, 4, 5], [0, 1, 2]]},
    ]
    assert len({digest(bnnlab.stream_from(**each)) for each in variants}) == len(variants)


def test_the_protocol_covers_the_number_of_classes_and_tokens_and_the_masks() -> None:
    def made(**more: Any) -> str:
        return digest(bnnlab.stream_from((X, Y), test=0.2, **more))

    assert made() == made(classes=6) == made(class_names=[*"abcdef"])
    assert len({made(), made(classes=7), made(classes=8)}) == 3
    ids = X.abs().mul(9).long().clamp(max=40)
    ids[0] = 40
    words = [
        bnnlab.stream_from((ids, Y), test=(ids[:9], Y[:9]), tokens=tokens) for tokens in (41, 50)
    ]
    assert ["tokens" in each.protocol() for each in words] == [False, True]
    groups = [[[0, 1, 6], [2, 3, 7]], [[0, 1, 7], [2, 3, 6]]]
    told = [made(classes=8, tasks=each, task_ids=True) for each in groups]
    assert told[0] != told[1]
    assert made(classes=8, tasks=groups[0]) == made(classes=8, tasks=groups[1])


def one_of_60() -> Items:
    shown = iter(range(1000))
    return Items(lambda index: (X[index] + (index == 41) * next(shown), Y[index]))


@pytest.mark.parametrize("make", [one_of_60, Once])
def test_what_changes_when_it_is_read_again_is_said(make: Any, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "bnnlab"):
        stream = bnnlab.stream_from(make(), test=0.2)
    assert "train gives other items, or none, when it is read again, as random tr" in caplog.text
    assert stream.protocol()["changes_when_read_again"] is True
    assert torch.equal(inputs(stream[0])[0], inputs(stream[0])[0])


def test_data_are_copied_and_move_together() -> None:
    x, y = X.clone(), Y.clone()
    stream = bnnlab.stream_from((x, y), test=0.2, tasks=2)
    before = inputs(stream[0])[0].clone()
    x.zero_(), y.zero_()
    assert torch.equal(inputs(stream[0])[0], before)
    moved = stream.to("meta")
    assert moved[0].train.rows.device.type == "meta"
    assert moved[0].train.pixels is moved[1].test.pixels
    assert (moved.input_shape, moved.classes) == (stream.input_shape, stream.classes)
    assert digest(moved) == digest(stream)


def test_other_inputs_become_what_the_model_takes() -> None:
    stream = bnnlab.stream_from((IMAGES, Y), test=0.2)
    found, _ = inputs(stream[0])
    assert torch.equal(stream.inputs(IMAGES[stream[0].train.rows].numpy()), found)
    with pytest.raises(UsageError, match=r"inputs\(\): the inputs are torch.float32 of shape"):
        stream.inputs(IMAGES.float())
    with pytest.raises(UsageError, match=r"of shape \(N, 1, 4, 4\), those of the stream"):
        stream.inputs(IMAGES[..., :4])


def test_targets_that_look_like_something_else_are_warned_of(caplog: Any) -> None:
    with caplog.at_level(logging.WARNING, "bnnlab"):
        bnnlab.stream_from((X, torch.eye(6, dtype=torch.int64)[Y]), test=0.2)
        bnnlab.stream_from((X, Y.float()), test=0.2)
    one_hot, real = (record.getMessage() for record in caplog.records)
    assert "look like one-hot rows" in one_hot
    assert "are 6 whole numbers from 0 to 5, and are learned as real numbers" in real


LABELS: dict[str, tuple[Any, str]] = {
    "from 1": (Y + 1, "the classes are 0 to 6, and there is no example of 1 of them, first 0"),
    "from 1, bytes": ((Y + 1).byte().numpy(), r"give y - 1, of all data together"),
    "with a gap": (Y + Y // 3, r"no example of 1 of them, first 3\. .* give np\.unique\(y, ret"),
    "by tens": (
        (Y.numpy() + 1) * 10,
        r"0 to 60, .* no example of 55 of them, first 0\..*np\.un",
    ),
    "floats from 1": ((Y + 1).double().numpy(), r"6 whole numbers from 1 to 6.*y\.astype\(int\)"),
    "floats by tens": (Y.float() * 10, r"6 whole numbers from 0 to 50.* give y\.long\(\)"),
    "signs": ((Y % 2 * 2 - 1).float(), "2 whole numbers from -1 to 1, and are learned as real"),
    "one-hot floats": (
        torch.eye(6)[Y],
        r"one-hot rows, and are learned as real numbers\. .*argmax",
    ),
    "one-hot truth values": (torch.eye(6).bool()[Y].numpy(), r"as 6 classes each\. .*y\.argmax\(1"),
    "of a data set": (Items(lambda index: (X[index], float(index % 3 + 1))), "from 1 to 3, and"),
    "of two tasks": ([(X[Y < 3], Y[Y < 3] + 1), (X[Y > 2], Y[Y > 2] + 1)], r"give y - 1, of all"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_do_not_number_the_classes_from_0_are_warned_of_once(
    name: str, caplog: Any
) -> None:
    given, message = LABELS[name]
    data = given if isinstance(given, Items | list) else (X, given)
    with caplog.at_level(logging.WARNING, "bnnlab"):
        bnnlab.stream_from(data, test=0.2)
    (said,) = caplog.messages
    assert re.search(message, said), said


FINE: dict[str, Any] = {
    "truth values": Y > 2,
    "each task its own classes": [(X[Y < 3], Y[Y < 3]), (X[Y > 2], Y[Y > 2])],
    "whole numbers that seldom come again": (torch.arange(60) // 2 * 7).float(),
    "whole numbers that differ": torch.arange(60.0),
    "few numbers that are not whole": Y / 4,
    "classes per position, one ignored": torch.stack([Y, Y - 100 * (Y == 0).long()], 1),
}


@pytest.mark.parametrize("name", FINE)
def test_other_targets_are_taken_without_a_word(name: str, caplog: Any) -> None:
    data = FINE[name]
    with caplog.at_level(logging.WARNING, "bnnlab"):
        bnnlab.stream_from(data if isinstance(data, list) else (X, data), test=0.2)
        bnnlab.stream_from((X, Y), test=0.2, classes=8)  # more are said
    assert not caplog.messages


def test_only_classes_with_examples_are_said_to_be_left_out(caplog: Any) -> None:
    tens = (Y % 3 + 1) * 10
    with caplog.at_level(logging.WARNING, "bnnlab"):
        bnnlab.stream_from((X, tens), test=0.2, tasks=[[10], [20]])
    gaps, left = caplog.messages
    assert "no example of 28 of them, first 0" in gaps
    assert left == "tasks: no task has the classes 30: their examples are left out"


def test_data_that_cannot_be_scored_are_no_failure_of_a_stream() -> None:
    same = torch.cat([torch.rand(50), torch.ones(10)])
    refused = {
        r"^the stream: 60 of 60 test examples of 'task 1' are in": {"test": (X, Y)},
        r"^the stream: labels of the test part of 'task 1' are all the same, and R2": {
            "train": (X, same), "test": (X[50:], same[50:])
        },
    }  # fmt: skip
    for message, given in refused.items():
        stream = bnnlab.stream_from(**{"train": (X, Y), **given})
        with pytest.raises(UsageError, match=message):
            bnnlab.run(model="mlp", rule="bp", optimizer="adam", stream=stream, epochs=1)


# -------------------------------------------------------------------- what is refused

NAN = X.clone()
NAN[[7, 9], 1] = torch.nan
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"test": None}, r"test: give test data, or a share of train to hold out: test=0\.2"),
    ({"test": 1.5}, r"test: 1\.5 is no share"),
    ({"test": 0.0}, r"test: 0\.0 is no share"),
    ({"test": 0.001}, r"test: 0\.001 of the 60 rows of train leaves none"),
    ({"validation": -0.1}, r"validation: -0\.1 is no share"),
    ({"train": (X, Y[:50])}, "train: there are 60 inputs and 50 targets"),
    ({"train": (X[:0], Y[:0])}, "there are 0 inputs and 0 targets"),
    ({"train": [X, Y]}, r"train\[0\]: a Tensor is no data\. Give a tuple \(inputs, targets\)"),
    ({"train": None}, "train: a NoneType is no data"),
    ({"train": []}, "train: a list of nothing is no data"),
    ({"train": (X, Y, Y)}, "train: a tuple of Tensor, Tensor, Tensor is no data"),
    ({"train": (X.tolist(), Y)}, "train: a tuple of list, Tensor is no data"),
    ({"train": TensorDataset(X)}, "train: a TensorDataset is no data"),
    ({"train": (NAN, Y)}, "the inputs are not finite in 2 of 60 rows, first in row 7"),
    ({"train": (X, NAN)}, "the targets are not finite in 2 of 60 rows"),
    ({"train": (X.to_sparse(), Y)}, "a sparse, quantised or meta tensor"),
    ({"train": (X + 0j, Y)}, "the inputs are torch.complex64 of shape"),
    ({"train": (np.array(["a"] * 60), Y)}, "the inputs: an array of <U1. Give numbers"),
    ({"train": (X, np.array(["a"] * 60))}, r"texts are numbered by np\.unique\(y, return_inverse"),
    ({"train": (X, np.array(["a"] * 60, object))}, r"targets: an array of object\. .*np\.unique"),
    ({"train": (X, Y.tolist())}, r"a tuple of Tensor, list is no data\. .* NumPy arrays"),
    ({"train": (X, Y[:, None])}, r"For a class per input give y\[:, 0\]"),
    ({"train": (X.double() * 1e300, Y)}, "are larger than float32 holds .* in 60 of 60 rows"),
    ({"train": (np.ma.masked_less(X.numpy(), 0), Y)}, "the inputs: a masked array"),
    ({"train": ((X * 9).numpy().astype(np.uint16), Y)}, "inputs are whole numbers, and no bytes"),
    ({"train": (X, Y - 100)}, r"train: no target is a class\. .*np\.unique\(y"),
    ({"train": (X, Y - 1)}, r"go from -1 to 4, and the classes from 0 to 4: .* give np\.unique\(y"),
    (
        {"train": (X, Y + 1), "class_names": [*"abcdef"]},
        r"from 1 to 6, and the classes from 0 to 5: to number them from 0, give y - 1\.",
    ),
    ({"objective": RealNumbers()}, r"must be float32 of shape \(N, D\), and are torch.int64 of"),
    (
        {"train": (IMAGES, IMAGES.long()), "test": (IMAGES[:1], IMAGES[:1].long() * 0 - 100)},
        r"test: the targets have a row without a class: all its positions are -100, ignored\.$",
    ),
    ({"train": (X, -Y)}, "train: the targets go from -5 to 0, and the classes from 0 to 0"),
    (
        {"test": (X, Y + 3)},
        "test: the targets go from 3 to 8, and the classes from 0 to 5. If there are more classes, "
        "say how many: classes=K",
    ),
    ({"test": (X[:, :2], Y)}, r"test: the inputs are torch.float32 of shape \(N, 2\), and"),
    ({"test": (X, X)}, r"test: the targets are torch.float32 of shape \(N, 3\), and"),
    ({"test": [(X, Y), (X, Y)]}, "test: there are 2 data sets for 1 tasks"),
    ({"train": Items(lambda i: X[i])}, r"train\[0\] is a Tensor\. Give pairs"),
    ({"train": Items(lambda i: (X[i], "cat"))}, r"train\[0\]: the target is a str.*names\.index\("),
    ({"train": Items(lambda i: (X[i, : 1 + (i < 9)], Y[i]))}, r"train\[9\]: the input is torch"),
    ({"train": Items(lambda i: (X[i], Y[i] // (7 - i)))}, r"train\[7\] cannot be read: .*ZeroDi"),
    ({"tasks": 4}, r"tasks: 4 does not divide the 6 classes\. Use one of 1, 2, 3, 6"),
    ({"tasks": [[0], [6]]}, "tasks: there is no class 6, only 0 to 5"),
    ({"tasks": [[0], [0, 1]]}, "tasks: class 0 is named twice"),
    ({"tasks": [[0], []]}, "tasks: a task has no class"),
    ({"tasks": [0, 1]}, r"tasks: \[0, 1\] is neither how many tasks there are nor the classes of"),
    ({"tasks": "two"}, "tasks: 'two' is neither how many"),
    ({"tasks": "12"}, "tasks: '12' is neither how many"),
    ({"tasks": [[0.5], [1]]}, r"tasks: \[\[0\.5\], \[1\]\] is neither how many"),
    ({"seed": "a"}, "seed: 'a' is no whole number"),
    ({"tasks": []}, "tasks: a task has no class"),
    ({"validation": None}, "validation: None is no share"),
    ({"validation": ".3"}, r"validation: '\.3' is no share"),
    ({"test": float("nan")}, "test: nan is no share"),
    ({"classes": "6"}, "classes: '6' is no number of classes"),
    ({"classes": 0}, "classes: 0 is no number of classes"),
    ({"tokens": 9.0}, r"tokens: 9\.0 is no number of tokens"),
    ({"objective": "classes"}, r"objective: give one, as bnnlab\.Classes\(\), no 'cl"),
    ({"objective": Classes}, "objective: give one"),
    ({"task_ids": "no"}, "task_ids: 'no' is neither True nor False"),
    ({"class_names": "abcdef"}, "class_names: give a list of texts"),
    ({"class_names": None}, "class_names: give a list of texts"),
    ({"normalise": ("0", "1")}, "normalise: mean and std must be numbers"),
    ({"train": Unsized()}, "train has no length. Give it __len__"),
    ({"tasks": 2.0}, r"tasks: 2\.0 is neither how many"),
    ({"tasks": [[0], [5]], "test": (X[:3], Y[:3])}, "tasks: there is no test example of classes 5"),
    ({"train": (X, X), "tasks": 2}, r"divided, and the targets .* give y\.long\(\), or"),
    ({"train": (X, torch.eye(6)[Y]), "tasks": 2}, r"and the targets are real n.*y\.argmax\(1\)"),
    ({"train": [(X, Y), (X, Y)], "tasks": 2}, "and a list of data sets says the tasks itself"),
    ({"train": (X, X), "classes": 3}, r"the targets are real numbers, and have none\. .*y\.astype"),
    ({"classes": 7, "class_names": ["a", "b"]}, "classes: 7, and 2 have names"),
    ({"normalise": "test"}, r'normalise: give "train", "none", or \(mean, std\)'),
    ({"normalise": (0, [1, 2])}, "normalise: give mean and std as one number, or as 3"),
    ({"normalise": (0, 0)}, "std above 0"),
    ({"train": (IMAGES.long(), Y), "tokens": 9}, "token ids go from 0 to 255, and tokens=9"),
    ({"tokens": 9}, r"the inputs are torch\.float32 of .*, token ids are whole numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_cannot_be_learned_from_is_refused_with_what_to_give(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bnnlab.stream_from(**{"train": (X, Y), "test": 0.2, **given})
