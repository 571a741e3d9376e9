"""Rows of one image stay together: what divides them, divides images."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnnlab.errors import DataError, UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab_vision.features import FeaturesChunked, FeaturesPermuted, FeaturesSingle, FeaturesSplit
from bnnlab_vision.labelling import with_noise

CROPS = 4
EACH = pytest.mark.parametrize(
    "kind", [FeaturesSingle, FeaturesPermuted, FeaturesSplit, FeaturesChunked]
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file of 60 images, and one with four crops of each, mixed."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.RandomState(0)
    x, y = random.normal(size=(60, 3)), np.arange(60) % 4
    test = {"test_x": x[:8], "test_y": y[:8]}
    image = random.permutation(np.tile(np.arange(60), CROPS))
    np.savez(folder / "images.npz", train_x=x, train_y=y, **test)
    crops = x[image] + random.normal(size=(len(image), 3))
    np.savez(folder / "crops.npz", train_x=crops, train_y=y[image], train_image=image, **test)
    return folder


def make(kind: Any, data: Path, file: str, seed: int = 3, **options: Any) -> Any:
    return kind(data=data, device=torch.device("cpu"), seed=seed, file=file, **options)


def numbers(part: Examples | None, image: Any) -> list[tuple[int, int]]:
    """Return the image and the label of each example, sorted."""
    if part is None:
        return []
    rows = part.rows.numpy()
    return sorted(zip(image[rows].tolist(), part.labels.numpy()[rows].tolist(), strict=True))


@EACH
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"validation": 0.2},
        {"labelled": 0.3},
        {"label_noise": 0.4},
        {"validation": 0.1, "labelled": 0.7, "label_noise": 0.3},
    ],
)
def test_crops_are_divided_as_their_images_are(
    kind: Any, options: dict[str, Any], data: Path
) -> None:
    image = np.load(data / "crops.npz")["train_image"]
    plain, crops = (make(kind, data, file, **options) for file in ("images.npz", "crops.npz"))
    for one, other in zip(plain, crops, strict=True):
        for name in ("train", "validation"):
            expected = numbers(getattr(one, name), np.arange(60))
            found = numbers(getattr(other, name), image)
            assert found == [each for each in expected for _ in range(CROPS)]


@EACH
def test_no_crop_of_a_held_out_image_is_learned(kind: Any, data: Path) -> None:
    image = np.load(data / "crops.npz")["train_image"]
    stream = make(kind, data, "crops.npz", validation=0.2)
    learned = {number for task in stream for number, _ in numbers(task.train, image)}
    held = {number for task in stream for number, _ in numbers(task.validation, image)}
    assert (len(learned), len(held), learned & held) == (48, 12, set())


def test_more_parts_than_images_and_a_single_image_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="61 parts of 60 images leave some empty"):
        make(FeaturesChunked, data, "crops.npz", tasks=61)
    every = {**np.load(data / "crops.npz"), "train_image": np.zeros(240, int)}
    np.savez(tmp_path / "one.npz", **every)
    with pytest.raises(UsageError, match="there is one image"):
        make(FeaturesSingle, tmp_path, "one.npz", validation=0.2)


def test_classes_that_nothing_is_left_to_learn_from_are_named(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(FeaturesSingle, data, "images.npz", validation=0.2)
    assert not caplog.messages
    make(FeaturesSingle, data, "images.npz", validation=0.99)  # one of 60 is left
    assert re.fullmatch(
        r"validation: no image is left to learn class \d, \d, \d from", caplog.messages[0]
    )
    every = {**np.load(data / "images.npz"), "class_names": np.array([*"abcd"])}
    np.savez(tmp_path / "named.npz", **every)
    make(FeaturesSingle, tmp_path, "named.npz", validation=0.99)
    assert caplog.messages[1] == caplog.messages[0].translate(str.maketrans("0123", "abcd"))


def test_which_rows_are_of_one_image_is_in_the_protocol(data: Path, tmp_path: Path) -> None:
    every = {**np.load(data / "crops.npz")}
    without = {name: array for name, array in every.items() if name != "train_image"}
    np.savez(tmp_path / "without.npz", **without)
    one, other = (
        make(FeaturesSingle, data, "crops.npz"),
        make(FeaturesSingle, tmp_path, "without.npz"),
    )
    assert one.protocol() != other.protocol()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train_image": np.arange(239)}, "train_x and train_image differ in length"),
        ({"train_image": np.arange(240) / 2}, "train_image holds numbers that are not whole"),
        ({"train_image": np.zeros((240, 1))}, "train_image has shape"),
        ({"train_image": None, "about": np.array('{"passes": 4}')}, "write it again"),
    ],
)
def test_a_file_that_does_not_say_which_rows_are_of_one_image_is_refused(
    changed: dict[str, Any], words: str, data: Path, tmp_path: Path
) -> None:
    every = {**np.load(data / "crops.npz"), **changed}
    kept = {name: array for name, array in every.items() if array is not None}
    np.savez(tmp_path / "bad.npz", **kept)
    with pytest.raises(DataError, match=words):
        make(FeaturesSingle, tmp_path, "bad.npz")


@pytest.mark.parametrize(("wrong", "classes"), [(2, 10), (9, 10), (13, 10), (1, 2), (5, 3)])
def test_over_seeds_every_other_class_is_a_wrong_label(wrong: int, classes: int) -> None:
    count = 20
    right = torch.arange(classes).repeat(count)
    part = Examples(torch.zeros(len(right), 1), right, torch.arange(len(right)))
    moved = np.zeros((classes, classes), int)
    for seed in range(40):
        found = with_noise(part, wrong / count, classes, None, seed, "noise").labels
        once = np.zeros_like(moved)
        np.add.at(once, (right.numpy(), found.numpy()), 1)
        for label, row in enumerate(once):
            assert row[label] == count - wrong
            assert np.ptp(np.delete(row, label)) <= 1
        moved += once
    assert moved.all()
