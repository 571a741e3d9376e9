import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import to_tensor

from bnnlab.errors import NOTE, UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import protocol_hash
from bnnlab_vision.augmentation import shift_and_flip
from bnnlab_vision.datasets import find_source
from bnnlab_vision.scenario import Scenario
from bnnlab_vision.scenarios import Chunked, Permuted, Sequence, Single, Split
from bnnlab_vision.source import Dataset, Source, channel_statistics

Writer = Callable[..., list[np.ndarray]]
CPU = torch.device("cpu")
EACH = pytest.mark.parametrize("kind", [Single, Permuted, Split, Chunked])

# SHA-256 over the pixels, then the int64 labels, of all training examples of tasks 0 and 2
# at seed 0: the i-th example of a task is the same on every machine.
GOLDEN_DIGITS = {
    0: "f48a05950e6ad8b88211dc166b53e92fda4858f3ef6e82d5ea01622834dfec21",
    2: "623c77ea1b3502bb1ae9da3b10355f0cd64eff887caf31560686e64dff2c95f7",
}
GOLDEN_MNIST = {
    0: "43505743679127c09985acddc4aedc2bab95d4b43530599fe4ea07d428016411",
    2: "520aff551638c4321b57d259a24e831ee8afbd97956e3ddda9704ee8f712a148",
}
# Of the digits with all options at their defaults: figures keep their protocols.
GOLDEN_PROTOCOLS = {
    Single: "b3ffb8519ced42bd",
    Permuted: "869c573a10bbe8b7",
    Split: "9d20ab68666e1e2f",
    Chunked: "8e3fd937cade6c15",
}


def make(
    kind: Callable[..., Scenario], seed: int = 0, data: Path = Path(), **options: Any
) -> Scenario:
    if kind is not Sequence:
        options = {"dataset": "digits", **options}
    return kind(data=data, device=CPU, seed=seed, **options)


def content(examples: Examples) -> str:
    pixels, labels = examples.raw(torch.arange(len(examples)))
    joined = pixels.contiguous().numpy().tobytes() + labels.numpy().astype("<i8").tobytes()
    return hashlib.sha256(joined).hexdigest()


def rows(examples: Examples | None) -> list[int]:
    return [] if examples is None else examples.rows.tolist()


def fingerprint(stream: Scenario) -> list[str]:
    parts = [(task.train, task.validation, task.test) for task in stream]
    return [content(part) for each in parts for part in each if part is not None]


# ---------------------------------------------------------------------------- every scenario


@pytest.mark.parametrize(
    ("kind", "validation"), [(Single, 0.1), (Permuted, 0.0), (Split, 0.1), (Chunked, 0.0)]
)
def test_tasks_depend_on_the_seed_and_on_nothing_else(
    kind: type[Scenario], validation: float
) -> None:
    first = fingerprint(make(kind, validation=validation))
    assert first == fingerprint(make(kind, validation=validation))
    assert first != fingerprint(make(kind, seed=1, validation=validation))


@EACH
def test_validation_is_a_share_of_the_training_data_and_disjoint_from_it(
    kind: type[Scenario],
) -> None:
    plain, parted = make(kind), make(kind, validation=0.25)
    trained, held = set(), set()
    for before, after in zip(plain, parted, strict=True):
        assert before.validation is None
        assert after.validation is not None
        assert rows(before.test) == rows(after.test)
        assert after.validation.pixels is after.train.pixels
        assert after.test.pixels is not after.train.pixels
        trained.update(rows(after.train))
        held.update(rows(after.validation))
    assert not trained & held
    assert trained | held == set(range(1437))
    assert len(held) == round(0.25 * 1437)


@EACH
def test_no_test_image_is_learned_from(kind: type[Scenario]) -> None:
    for task in make(kind):
        assert len(task.test) > 0
        learned = {image.tobytes() for image in task.train.pixels.numpy()}
        unseen = [image.tobytes() not in learned for image in task.test.pixels.numpy()]
        assert all(unseen)


@EACH
def test_tasks_share_the_pixels_and_are_the_same_at_each_call(kind: type[Scenario]) -> None:
    stream = make(kind)
    last = stream[len(stream) - 1]
    assert last.index == len(stream) - 1
    assert stream[0].train.pixels is last.train.pixels
    assert content(last.train) == content(stream[len(stream) - 1].train)
    with pytest.raises(IndexError):
        stream[len(stream)]


@EACH
def test_labels_are_among_the_classes_and_inputs_have_the_shape(kind: type[Scenario]) -> None:
    stream = make(kind)
    for task in stream:
        inputs, targets = task.train.batch(torch.arange(len(task.train)))
        assert inputs.shape[1:] == stream.input_shape == (1, 8, 8)
        assert targets.min() >= 0
        assert targets.max() < stream.classes == 10


@EACH
def test_the_protocol_is_of_the_content_and_the_options_and_not_of_the_seed(
    kind: type[Scenario], tmp_path: Path, write_mnist: Writer
) -> None:
    write_mnist(tmp_path / "a")
    write_mnist(tmp_path / "b", seed=1)
    variants = [
        make(kind),
        make(kind, validation=0.1),
        make(kind, dataset="mnist", data=tmp_path / "a"),
        make(kind, dataset="mnist", data=tmp_path / "b"),
    ]
    if kind is not Single:
        variants.append(make(kind, tasks=2))
    protocols = [stream.protocol() for stream in variants]
    assert len({protocol_hash(protocol) for protocol in protocols}) == len(variants)
    assert protocols[0] == make(kind, seed=7, validation=0).protocol()
    assert json.loads(json.dumps(protocols[0])) == protocols[0]


@pytest.mark.parametrize(("kind", "golden"), GOLDEN_PROTOCOLS.items())
def test_protocols_do_not_change(kind: type[Scenario], golden: str) -> None:
    assert protocol_hash(make(kind).protocol()) == golden


def test_a_share_of_less_than_an_example_holds_one_out() -> None:
    (task,) = make(Single, validation=1e-6)
    assert task.validation is not None
    assert len(task.validation) == 1


@pytest.mark.parametrize("validation", [-0.1, 1.0])
def test_a_share_that_leaves_nothing_to_learn_is_refused(validation: float) -> None:
    with pytest.raises(UsageError, match="at least 0 and below 1"):
        make(Single, validation=validation)


@pytest.mark.parametrize("kind", [Permuted, Chunked])
def test_a_stream_without_tasks_is_refused(kind: type[Scenario]) -> None:
    with pytest.raises(UsageError, match="tasks: 0 must be at least 1"):
        make(kind, tasks=0)


# ---------------------------------------------------------------------------- normalisation


def test_statistics_are_those_of_numpy_and_a_constant_channel_has_std_one() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (50, 3, 4, 5)).astype(np.uint8)
    pixels[:, 1] = 7
    mean, std = channel_statistics(torch.from_numpy(pixels))
    assert mean.shape == std.shape == (3, 1, 1)
    expected = pixels.astype(np.float64)
    np.testing.assert_allclose(mean.flatten(), expected.mean((0, 2, 3)), rtol=1e-6)
    deviations = expected.std((0, 2, 3))
    np.testing.assert_allclose(std.flatten(), [deviations[0], 1, deviations[2]], rtol=1e-6)


def test_the_statistics_are_of_the_whole_training_part_whatever_is_held_out() -> None:
    plain, parted = make(Single)[0], make(Single, validation=0.5)[0]
    inputs, _ = plain.train.batch(torch.arange(len(plain.train)))
    torch.testing.assert_close(inputs.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std(correction=0), torch.tensor(1.0))
    assert torch.equal(plain.test.mean, parted.train.mean)


@pytest.mark.parametrize(("normalise", "low"), [(False, 0), ("signed", -1)])
@EACH
def test_inputs_that_are_not_normalised_are_pixels_up_to_one(
    kind: Any, normalise: Any, low: int
) -> None:
    stream = make(kind, validation=0.1, normalise=normalise)
    assert stream.protocol() == {**make(kind, validation=0.1).protocol(), "normalise": normalise}
    parts = [part for task in stream for part in (task.train, task.validation, task.test)]
    for part in (*parts, stream.out_of_distribution()):
        at = torch.arange(len(part))
        assert torch.equal(part.batch(at)[0], part.raw(at)[0] / 16 * (1 - low) + low)


def test_they_are_those_of_torchvision_of_each_data_set_and_of_what_is_unknown(
    tmp_path: Path, write_mnist: Writer
) -> None:
    write_mnist(tmp_path)
    write_mnist(tmp_path, "FashionMNIST", seed=1)
    sequence = make(Sequence, data=tmp_path, normalise=False)
    permuted = make(
        Permuted, data=tmp_path, dataset="mnist", unknown="fashion-mnist", normalise=False
    )
    for part in (sequence[0].train, sequence[1].test, permuted.out_of_distribution()):
        expected = [to_tensor(pixels[0].numpy()) for pixels in part.pixels]
        assert torch.equal(part.batch(torch.arange(len(part)))[0], torch.stack(expected))


# ---------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize(("augment", "edge"), [("cifar", False), ("cifar-edge", True)])
@EACH
def test_training_images_alone_are_augmented_and_only_when_draws_are_given(
    kind: type[Scenario], augment: str, edge: bool
) -> None:
    plain, augmented = make(kind, validation=0.1), make(kind, validation=0.1, augment=augment)
    assert augmented.protocol() == {**plain.protocol(), "augment": augment}
    at = torch.arange(20)
    for before, task in zip(plain, augmented, strict=True):
        draws = [torch.Generator().manual_seed(seed) for seed in (5, 5, 6)]
        inputs, targets = task.train.batch(at, draws[0])
        images = shift_and_flip(task.train.pixels[task.train.rows[at]], draws[1], edge)
        expected = ((images.float() - task.train.mean) / task.train.std).flatten(1)
        order = task.train.permutation
        assert torch.equal(inputs.flatten(1), expected if order is None else expected[:, order])
        assert not torch.equal(inputs, task.train.batch(at, draws[2])[0])
        assert torch.equal(targets, before.train.batch(at)[1])
        for part in ("train", "validation", "test"):
            one, other = getattr(before, part), getattr(task, part)
            given = None if part == "train" else draws[2]
            assert torch.equal(other.batch(at, given)[0], one.batch(at)[0])


# ---------------------------------------------------------------------------- permuted


@pytest.mark.parametrize(("index", "golden"), GOLDEN_DIGITS.items())
def test_permuted_digits_are_the_same_on_every_machine(index: int, golden: str) -> None:
    assert content(make(Permuted, tasks=3)[index].train) == golden


@pytest.mark.slow
def test_permuted_mnist_is_the_same_on_every_machine() -> None:
    data = Path(os.environ.get("BNNLAB_DATA", ""))
    if "BNNLAB_DATA" not in os.environ or not (data / "MNIST" / "raw").is_dir():
        pytest.skip("needs real MNIST: set BNNLAB_DATA to a folder that holds MNIST/raw")
    stream = make(Permuted, dataset="mnist", data=data)
    assert {index: content(stream[index].train) for index in GOLDEN_MNIST} == GOLDEN_MNIST


def test_every_task_permutes_all_its_parts_alike_and_unlike_the_others() -> None:
    orders = []
    for task in make(Permuted, validation=0.1):
        assert task.validation is not None
        order = task.train.permutation
        assert order is not None
        assert order is task.test.permutation is task.validation.permutation
        assert sorted(order.tolist()) == list(range(64))
        orders.append(tuple(order.tolist()))
        assert task.name == f"permutation {task.index + 1}"
    assert len({*orders, tuple(range(64))}) == 11


# ---------------------------------------------------------------------------- split


@pytest.mark.parametrize("incremental", ["class", "task"])
def test_a_split_holds_each_example_once_with_the_classes_of_its_task(incremental: str) -> None:
    stream = make(Split, incremental=incremental)
    for part in ("train", "test"):
        found = [row for task in stream for row in rows(getattr(task, part))]
        assert sorted(found) == list(range(1437 if part == "train" else 360))
        for task in stream:
            examples = getattr(task, part)
            labels = set(examples.labels[examples.rows].tolist())
            assert labels == {2 * task.index, 2 * task.index + 1}
    assert [task.name for task in stream][:2] == ["digits 0-1", "digits 2-3"]


def test_task_incremental_masks_the_other_tasks_classes() -> None:
    stream = make(Split, incremental="task", tasks=5)
    logits = stream[1].mask(torch.zeros(1, 10))
    assert logits.isfinite().nonzero()[:, 1].tolist() == [2, 3]
    assert make(Split)[1].classes is None


def test_a_single_class_makes_a_task_and_is_named_alone() -> None:
    assert make(Split, tasks=10)[3].name == "digits 3"


def test_a_number_of_tasks_that_does_not_divide_the_classes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"3 does not divide the 10 classes.*one of 1, 2, 5, 10"):
        make(Split, tasks=3)


@dataclass(frozen=True)
class Some(Source):
    """The digits below a number of classes, as a data set of the user's."""

    classes: int
    name: str = "mine"
    shape: tuple[int, int, int] = (1, 8, 8)
    label: str = "classes"

    def load(self, data: Path, device: torch.device, seed: int) -> Dataset:
        found = find_source("digits").load(data, device, seed)
        few = [
            replace(part, rows=(part.labels < self.classes).nonzero().flatten())
            for part in (found.train, found.test)
        ]
        return replace(found, train=few[0], test=few[1])


@pytest.mark.parametrize(
    ("classes", "tasks"), [(2, 2), (3, 3), (4, 2), (6, 3), (7, 7), (8, 4), (9, 3), (10, 5)]
)
def test_without_a_number_the_tasks_divide_the_classes(
    classes: int, tasks: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(NOTE, "bnnlab.vision"):
        stream = make(Split, dataset=Some(classes), tasks=None)
    assert len(stream) == stream.protocol()["tasks"] == tasks
    (said,) = caplog.messages
    assert f"its {classes} classes are learned in {tasks} tasks" in said
    assert said.endswith(str(classes))  # of the numbers that divide
    last = stream[tasks - 1].train
    assert last.labels[last.rows].max() == classes - 1


def test_tasks_of_one_class_that_are_known_at_test_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make(Split, tasks=10)
    assert not caplog.messages
    make(Split, tasks=10, incremental="task")
    assert "every prediction is right" in caplog.text


# ---------------------------------------------------------------------------- chunked


def test_chunks_are_disjoint_complete_and_equal_up_to_one() -> None:
    stream = make(Chunked, tasks=7)
    chunks = [rows(task.train) for task in stream]
    assert sorted(row for chunk in chunks for row in chunk) == list(range(1437))
    assert {len(chunk) for chunk in chunks} == {205, 206}
    assert stream[2].name == "part 3 of 7"


def test_all_chunks_are_scored_on_the_same_whole_test_set() -> None:
    stream = make(Chunked)
    assert all(task.test is stream[0].test for task in stream)
    assert rows(stream[0].test) == list(range(360))


def test_more_chunks_than_images_are_refused() -> None:
    with pytest.raises(UsageError, match="2000 parts of 1437 images"):
        make(Chunked, tasks=2000)


# ---------------------------------------------------------------------------- sequence


def test_a_sequence_gives_each_data_set_whole_and_normalised_by_itself(
    tmp_path: Path, write_mnist: Writer
) -> None:
    written = {"mnist": write_mnist(tmp_path)}
    written["fashion-mnist"] = write_mnist(tmp_path, "FashionMNIST", seed=1)
    stream = make(Sequence, data=tmp_path)
    assert [task.name for task in stream] == ["mnist", "fashion-mnist"]
    assert (stream.input_shape, stream.classes) == ((1, 28, 28), 10)
    for task in stream:
        pixels, _ = task.train.raw(torch.arange(40))
        assert np.array_equal(pixels[:, 0], written[task.name][0])
        assert task.test.mean.item() == pytest.approx(written[task.name][0].mean())
    other = make(Sequence, data=tmp_path, datasets=["fashion-mnist", "mnist"])
    assert protocol_hash(other.protocol()) != protocol_hash(stream.protocol())


def test_a_sequence_has_logits_for_the_largest_number_of_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnnlab_vision.scenario.Prepared", lambda *_, **__: None)
    assert make(Sequence, datasets=["cifar10", "cifar100"]).classes == 100


def test_data_sets_of_unequal_shape_are_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match=r"digits \(1, 8, 8\), mnist \(1, 28, 28\)"):
        make(Sequence, datasets=["digits", "mnist"])
    with pytest.raises(UsageError, match="at least one"):
        make(Sequence, datasets=[])


# ---------------------------------------------------------------------------- what is unknown


@EACH
def test_unknown_inputs_are_test_images_in_an_order_of_no_task(kind: Any) -> None:
    stream = make(kind, seed=3)
    unknown = stream.out_of_distribution()
    known = stream[0].test
    assert unknown.pixels is known.pixels
    assert len(unknown) == 360
    assert unknown.permutation is not None
    assert sorted(unknown.permutation.tolist()) == list(range(64))
    orders = [task.test.permutation for task in stream]
    assert not any(torch.equal(unknown.permutation, o) for o in orders if o is not None)
    assert content(unknown) == content(make(kind, seed=3).out_of_distribution())
    assert content(unknown) != content(make(kind, seed=4).out_of_distribution())
    assert "unknown" not in stream.protocol()


def test_another_data_set_may_be_unknown_and_then_the_protocol_says_so(
    tmp_path: Path, write_mnist: Writer
) -> None:
    write_mnist(tmp_path)
    other = write_mnist(tmp_path, "FashionMNIST", seed=1)
    options = {"dataset": "mnist", "data": tmp_path, "unknown": "fashion-mnist"}
    stream = make(Permuted, **options)
    unknown = stream.out_of_distribution()
    pixels, _ = unknown.raw(torch.arange(len(unknown)))
    assert np.array_equal(pixels[:, 0].numpy(), other[2])
    assert torch.equal(unknown.mean, stream[0].test.mean)  # normalised as what is known
    assert stream.protocol()["unknown"] == "fashion-mnist"


@pytest.mark.parametrize(
    ("unknown", "words"),
    [("mnist", r"mnist have shape \(1, 28, 28\), but .* \(1, 8, 8\)"), ("minst", "'mnist'")],
)
def test_what_cannot_be_unknown_is_refused_before_anything_is_read(
    unknown: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        make(Permuted, unknown=unknown)


def test_what_the_tasks_are_made_of_is_not_unknown() -> None:
    with pytest.raises(UsageError, match="the tasks are made of digits"):
        make(Split, unknown="digits")
    known = make(Permuted, unknown="digits")  # whose tasks show it in other orders
    assert known.out_of_distribution().permutation is None
