"""Options and scenarios over chosen classes, angles, borders, and few or wrong labels."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.functional import rotate

from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab_vision.contracts import write_images
from bnnlab_vision.datasets import find_source
from bnnlab_vision.folders import FolderRotated, FolderSingle
from bnnlab_vision.rotation import rotated, rotation_map
from bnnlab_vision.scenario import Scenario
from bnnlab_vision.scenarios import Chunked, Permuted, Rotated, Sequence, Single, Split

CPU = torch.device("cpu")
EACH = pytest.mark.parametrize("kind", [Single, Permuted, Rotated, Split, Chunked])


def make(kind: Any, seed: int = 0, data: Path = Path(), **options: Any) -> Any:
    if issubclass(kind, Single | Permuted | Rotated | Split | Chunked):
        options = {"dataset": "digits", **options}
    return kind(data=data, device=CPU, seed=seed, **options)


def labels(part: Examples) -> torch.Tensor:
    return part.labels[part.rows]


# ---------------------------------------------------------------------------- rotated


@pytest.mark.parametrize("degrees", [0, 17.5, 45, 123, 180, -31, 359])
@pytest.mark.parametrize("size", [(28, 28), (9, 11)])
def test_images_are_turned_as_by_torchvision(degrees: float, size: tuple[int, int]) -> None:
    images = torch.randint(1, 256, (3, 2, *size), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    found = rotated(images, rotation_map(*size, degrees))
    assert (found != rotate(images, degrees)).float().mean() < 0.02  # it rounds in float32


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_right_angle_is_exact(quarters: int) -> None:
    images = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8)
    found = rotated(images, rotation_map(8, 8, 90 * quarters))
    assert torch.equal(found, torch.rot90(images, quarters, (2, 3)))


def test_each_task_has_one_angle_in_all_parts_and_the_seed_draws_it() -> None:
    stream = make(Rotated, seed=3, tasks=4, validation=0.1)
    names = [task.name for task in stream]
    assert len({*names}) == len(stream) == 4
    assert names != [task.name for task in make(Rotated, seed=4, tasks=4)]
    assert stream.protocol() == make(Rotated, seed=4, tasks=4, validation=0.1).protocol()
    for task in stream:
        degrees = float(task.name.split()[0])
        assert 0 <= degrees < 180
        for name in ("train", "validation", "test"):
            part, at = getattr(task, name), torch.arange(20)
            source = find_source("digits").load(Path(), CPU, 0)
            plain = source.test if name == "test" else source.train
            expected = rotate(plain.pixels[part.rows[:20]], degrees)
            assert torch.equal(part.raw(at)[0], expected)
            assert torch.equal(part.batch(at)[0], (expected.float() - plain.mean) / plain.std)


def test_angles_may_be_given_and_then_they_say_how_many_tasks_there_are() -> None:
    stream = make(Rotated, angles=[0, 22.5])
    assert [task.name for task in stream] == ["0 degrees", "22.5 degrees"]
    assert stream.protocol()["angles"] == [0.0, 22.5]
    assert len(make(Rotated)) == 20
    with pytest.raises(UsageError, match="3, but there are 2 angles"):
        make(Rotated, angles=[0, 90], tasks=3)


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_images_of_a_folder_are_turned_wherever_they_are_read(
    in_memory: str, tmp_path: Path
) -> None:
    write_images(tmp_path / "set", count=4)
    options = {"folder": "set", "image_size": 8, "workers": 0, "in_memory": in_memory}
    (plain,), (turned,) = (
        make(kind, data=tmp_path, **options, **more)
        for kind, more in ((FolderSingle, {}), (FolderRotated, {"angles": [90]}))
    )
    at = torch.arange(5)
    assert torch.equal(turned.train.raw(at)[0], torch.rot90(plain.train.raw(at)[0], 1, (2, 3)))


# ---------------------------------------------------------------------------- classes of a split


def test_chosen_classes_are_learned_in_their_order_and_numbered_anew() -> None:
    stream = make(Split, labels=[7, 1, 4, 0], tasks=2, incremental="task", validation=0.1)
    assert [task.name for task in stream] == ["digits 7, 1", "digits 4, 0"]
    assert stream.classes == 4
    assert stream.protocol()["labels"] == [7, 1, 4, 0]
    data, known = find_source("digits").load(Path(), CPU, 0), torch.tensor([0, 1, 4, 7])
    for task, classes in zip(stream, ([1, 3], [0, 2]), strict=True):
        assert task.classes.nonzero().flatten().tolist() == classes
        for part in (task.train, task.validation, task.test):
            whole = data.test if part is task.test else data.train
            assert torch.equal(known[labels(part)], whole.labels[part.rows])
            assert sorted({*labels(part).tolist()}) == classes
    rows = torch.cat([part.rows for task in stream for part in (task.train, task.validation)])
    assert sorted(rows.tolist()) == torch.isin(data.train.labels, known).nonzero()[:, 0].tolist()


def test_all_classes_in_another_order_keep_their_labels() -> None:
    stream = make(Split, labels=[9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    assert sorted({*labels(stream[0].test).tolist()}) == [8, 9]
    unknown = make(Split, labels=[3, 8], tasks=1).out_of_distribution()
    assert sorted({*labels(unknown).tolist()}) == [0, 1]


def test_a_seed_shuffles_the_classes() -> None:
    one, other = (make(Split, seed=seed, order="seed") for seed in (0, 1))
    assert [task.name for task in one] != [task.name for task in other]
    assert one.protocol() == other.protocol()
    assert one.protocol()["order"] == "seed"
    groups = [set(labels(task.train).tolist()) for task in one]
    assert sorted(label for group in groups for label in group) == list(range(10))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": [1, 10]}, "10 is no class of digits; use 0 to 9"),
        ({"labels": [1, 1]}, "a class twice"),
        ({"labels": [1, 2, 3], "tasks": 2}, "2 does not divide the 3 classes"),
        ({"labels": [3], "tasks": 1, "label_noise": 0.1}, "one class"),
    ],
)
def test_classes_that_cannot_be_learned_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(Split, **options)


# ---------------------------------------------------------------------------- labels


@EACH
def test_few_labels_are_a_share_of_each_class(kind: type[Scenario]) -> None:
    plain, few = make(kind, validation=0.2), make(kind, validation=0.2, labelled=0.1)
    assert few.protocol()["labelled"] == 0.1
    assert few.protocol() == make(kind, validation=0.2, labelled=0.1, seed=5).protocol()
    every = [torch.cat([labels(task.train) for task in stream]) for stream in (plain, few)]
    if kind in (Permuted, Rotated):  # which have them all in each task
        every = [labels(plain[0].train), labels(few[0].train)]
    counts = [each.bincount(minlength=10).tolist() for each in every]
    assert counts[1] == [max(1, round(0.1 * count)) for count in counts[0]]
    for before, after in zip(plain, few, strict=True):
        assert torch.equal(before.test.rows, after.test.rows)
        assert torch.equal(before.validation.rows, after.validation.rows)
    other = make(kind, validation=0.2, labelled=0.1, seed=1)
    assert not torch.equal(few[0].train.rows, other[0].train.rows)


@pytest.mark.parametrize("rate", [0.25, 1.0])
@EACH
def test_wrong_labels_are_evenly_among_the_other_classes(kind: type[Scenario], rate: float) -> None:
    stream = make(kind, validation=0.2, label_noise=rate)
    assert stream.protocol()["label_noise"] == rate
    assert stream.protocol() == make(kind, validation=0.2, label_noise=rate, seed=1).protocol()
    truth = find_source("digits").load(Path(), CPU, 0)
    held: set[int] = set()
    moved = np.zeros((10, 10), int)
    for task in stream if kind in (Split, Chunked) else [stream[0]]:
        right = truth.train.labels[task.train.rows]
        np.add.at(moved, (right.numpy(), labels(task.train).numpy()), 1)
        assert torch.equal(labels(task.test), truth.test.labels[task.test.rows])
        rows = task.validation.rows
        assert torch.equal(labels(task.validation), truth.train.labels[rows])
        held |= set(rows.tolist())
    for label, row in enumerate(moved):
        wrong = row.sum() - row[label]
        assert wrong == round(rate * row.sum())
        assert np.ptp(np.delete(row, label)) <= 1
    assert moved.sum() == 1437 - len(held)


def test_wrong_labels_are_those_of_chosen_classes_and_nothing_kept_is_written() -> None:
    before = find_source("digits").load(Path(), CPU, 0).train.labels.clone()
    stream = make(Split, labels=[2, 5, 8], tasks=3, label_noise=0.5)
    truth = find_source("digits").load(Path(), CPU, 0).train.labels
    assert torch.equal(before, truth)
    for task in stream:
        assert set(truth[task.train.rows].tolist()) == {2, 5, 8}


# ---------------------------------------------------------------------------- a border


@pytest.mark.parametrize("normalise", [True, False])
@EACH
def test_a_border_is_black_and_counts_in_mean_and_deviation(
    kind: type[Scenario], normalise: bool
) -> None:
    stream = make(kind, side=11, normalise=normalise)
    assert stream.input_shape == (1, 11, 11)
    assert stream.protocol()["side"] == 11
    source = find_source("digits").load(Path(), CPU, 0)
    padded = F.pad(source.train.pixels, (1, 2, 1, 2)).double()
    if kind is not Rotated:
        part = stream[0].train
        pixels = part.raw(torch.arange(len(part)))[0]
        at = part.rows
        order = part.permutation if part.permutation is not None else torch.arange(121)
        assert torch.equal(pixels.flatten(1), padded[at].flatten(1)[:, order].to(torch.uint8))
    mean, std = (padded.mean(), padded.std(correction=0)) if normalise else (0.0, 16.0)
    assert stream[0].train.mean.item() == pytest.approx(float(mean), rel=1e-5)
    assert stream[0].train.std.item() == pytest.approx(float(std), rel=1e-5)
    assert stream.out_of_distribution().batch(torch.arange(2))[0].shape == (2, 1, 11, 11)


def test_data_sets_of_other_sizes_follow_each_other_with_a_border() -> None:
    with pytest.raises(UsageError, match="`side` gives smaller images a border"):
        make(Sequence, datasets=["digits", "mnist"])
    stream = make(Sequence, datasets=["digits"], side=28)
    assert stream.input_shape == (1, 28, 28)
    with pytest.raises(UsageError, match="4 is too small for digits"):
        make(Single, side=4)


# ---------------------------------------------------------------------------- real data


@pytest.mark.slow
def test_real_mnist_is_turned_chosen_and_mislabelled() -> None:
    data = Path(os.environ.get("BNNLAB_DATA", ""))
    if "BNNLAB_DATA" not in os.environ or not (data / "MNIST" / "raw").is_dir():
        pytest.skip("needs real MNIST: set BNNLAB_DATA to a folder that holds MNIST/raw")
    stream = make(Rotated, dataset="mnist", data=data, angles=[0, 60], side=32)
    plain = make(Single, dataset="mnist", data=data)
    at = torch.arange(500)
    padded = F.pad(plain[0].test.raw(at)[0], (2, 2, 2, 2))
    assert torch.equal(stream[0].test.raw(at)[0], padded)
    assert torch.equal(stream[1].test.raw(at)[0], rotate(padded, 60))
    noisy = make(Split, dataset="mnist", data=data, labels=[3, 8], tasks=1, label_noise=0.2)
    truth = plain[0].train.labels[noisy[0].train.rows]
    wrong = truth != torch.tensor([3, 8])[labels(noisy[0].train)]
    assert wrong.float().mean().item() == pytest.approx(0.2, abs=0.01)
