"""Features: their file, the streams over it, and the command that writes it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from bnnlab.errors import DataError, UsageError
from bnnlab_vision.commands import extract_features
from bnnlab_vision.contracts import write_images
from bnnlab_vision.extracting import MEAN, STD, Extractor, extract, make_network
from bnnlab_vision.features import FeaturesSingle, FeaturesSplit
from bnnlab_vision.scenarios import Single

CPU = torch.device("cpu")


def make(kind: Any, data: Path, **options: Any) -> Any:
    return kind(data=data, device=CPU, seed=0, **options)


def arrays(**changed: Any) -> dict[str, Any]:
    random = np.random.RandomState(0)
    usual = {
        "train_x": random.normal(3.0, 2.0, (12, 3)),
        "train_y": np.arange(12) % 4,
        "test_x": random.normal(3.0, 2.0, (8, 3)),
        "test_y": np.arange(8) % 4,
    }
    return {name: value for name, value in {**usual, **changed}.items() if value is not None}


def test_features_are_normalised_one_by_one_and_classes_are_named(tmp_path: Path) -> None:
    content = arrays(class_names=np.array(["a", "b", "c", "d", "e"]), about=np.array('{"m": 1}'))
    np.savez(tmp_path / "some.npz", **content)
    stream = make(FeaturesSingle, tmp_path, file="some.npz")
    assert (stream.input_shape, stream.classes) == ((3,), 5)
    assert stream.class_names == ["a", "b", "c", "d", "e"]
    assert stream.protocol()["data"][0]["about"] == {"m": 1}
    x = content["train_x"].astype(np.float32).astype(np.float64)
    found, labels = stream[0].train.batch(torch.arange(12))
    np.testing.assert_allclose(found, (x - x.mean(0)) / x.std(0), rtol=1e-4, atol=1e-5)
    assert labels.tolist() == content["train_y"].tolist()
    plain = make(FeaturesSingle, tmp_path, file="some.npz", normalise=False)
    assert torch.equal(plain[0].test.batch(torch.arange(8))[0], plain[0].test.pixels)


def test_animals_and_vehicles_are_two_tasks(tmp_path: Path) -> None:
    """The published tasks of Laborieux et al. 2021: five classes of CIFAR-10 each."""
    both = {"train_y": np.arange(12) % 10, "test_y": np.arange(8) + 2}
    np.savez(tmp_path / "some.npz", **arrays(**both))
    animals, vehicles = [2, 3, 4, 5, 6], [0, 1, 7, 8, 9]
    stream = make(FeaturesSplit, tmp_path, file="some.npz", labels=vehicles + animals, tasks=2)
    learned = [sorted({*task.train.labels[task.train.rows].tolist()}) for task in stream]
    assert learned == [vehicles, animals]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train_y": None}, "train_y"),
        ({"test_y": np.arange(7) % 4}, "test_x and test_y differ in length"),
        ({"test_x": np.zeros((8, 2))}, "number of features"),
        ({"train_x": np.full((12, 3), np.nan)}, "not finite"),
        ({"train_x": np.zeros((12, 3, 2))}, r"shape \(12, 3, 2\)"),
        ({"train_y": np.arange(12) - 1}, "below 0"),
        ({"test_y": np.arange(8)}, "beyond 0 to 3"),
        ({"train_x": np.array([object()])}, "no file of features"),
        ({"train_y": np.arange(12) / 2}, "train_y holds numbers that are not whole"),
        ({"class_names": np.arange(4)}, "no list of texts"),
        ({"about": np.array("{")}, "no file of features"),
    ],
)
def test_a_file_that_is_no_file_of_features_is_named(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays(**changed))
    with pytest.raises(DataError, match=words):
        make(FeaturesSingle, tmp_path, file="bad.npz")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"some text"])
def test_what_is_no_file_of_numpy_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.npz is no file of features"):
        make(FeaturesSingle, tmp_path, file="bad.npz")
    with (tmp_path / "bad.npz").open("wb") as file:
        np.save(file, np.zeros(3))  # one array, no archive
    with pytest.raises(DataError, match=r"bad\.npz is no file of features"):
        make(FeaturesSingle, tmp_path, file="bad.npz")


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, "say which file"), ({"file": "none.npz"}, "No such file"), ({"side": 9}, "too small")],
)
def test_what_features_cannot_be_is_refused(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "some.npz", **arrays())
    options = {"file": "some.npz", **options} if options else {}
    with pytest.raises(UsageError, match=words):
        make(FeaturesSingle, tmp_path, **options)
    with pytest.raises(UsageError, match="features are no images"):
        make(FeaturesSingle, tmp_path, file="some.npz", augment="cifar")


def test_a_file_of_the_working_folder_is_refused_with_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "some.npz", **arrays())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"--set stream.file={tmp_path / 'some.npz'}; in Python"):
        make(FeaturesSingle, tmp_path / "data", file="some.npz")


# ---------------------------------------------------------------------------- extraction


class Sums(nn.Module):
    """A network whose features are the sums of its input's channels."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 2)
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images)
        return self.last(images.sum((2, 3)))


def test_features_are_what_the_last_linear_layer_gets() -> None:
    network = make_network("resnet18", "none")
    images = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    found = Extractor(network, 40, 32)(images, None)
    body = nn.Sequential(*[*network.children()][:-1])
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    with torch.no_grad():
        expected = body((images[:, :, 4:36, 4:36] - mean) / std).flatten(1)
    assert found.shape == (3, 512)
    torch.testing.assert_close(found, expected)


def test_each_pass_over_the_training_images_draws_crops_and_mirrors() -> None:
    part = make(Single, Path(), dataset="digits", normalise=False)[0].train
    told: list[int] = []
    once, twice = (
        [extract(part, Extractor(Sums(), 8, 6), 100, count, told.append) for _ in range(2)]
        for count in (1, 2)
    )
    for (x, y), count in ((once[0], 1), (twice[0], 2)):
        assert x.shape == (1437 * count, 3)
        assert np.array_equal(y, np.tile(part.labels.numpy(), count))
    assert np.array_equal(twice[0][0], twice[1][0])  # drawn alike at each call
    assert not np.array_equal(twice[0][0][:1437], twice[0][0][1437:])
    assert sum(told) == 2 * 1437 * 3
    network = Sums()
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(200, 3, 8, 8)
    Extractor(network, 8, 6)(images, draws)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    crops = [images[:, :, i : i + 6, j : j + 6] for i in range(3) for j in range(3)]
    every = torch.stack([view for crop in crops for view in (crop, crop.flip(3))])
    same = ((every - mean) / std - network.seen[0]).abs().amax((2, 3, 4)) < 1e-6
    assert bool(same.any(0).all())  # each is one of the 18
    assert bool(same.any(1).all())  # and each of these is drawn


def test_weights_are_those_of_a_file(tmp_path: Path) -> None:
    other = resnet18(weights=None).eval()
    torch.save(other.state_dict(), tmp_path / "weights.pt")
    found = make_network("resnet18", str(tmp_path / "weights.pt"))
    assert all(
        torch.equal(a, b) for a, b in zip(found.parameters(), other.parameters(), strict=True)
    )
    state = torch.random.get_rng_state()
    one, two = (make_network("resnet18", "none").fc.weight for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [("resnet81", "none", "Did you mean 'resnet18'"), ("resnet18", "MINE", "weights: MINE")],
)
def test_networks_and_weights_that_are_not_there_are_refused(
    name: str, weights: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        make_network(name, weights)


def test_a_crop_beyond_the_image_and_a_network_without_features_are_refused() -> None:
    with pytest.raises(UsageError, match="larger than --resize 4"):
        Extractor(Sums(), 4, 5)
    with pytest.raises(UsageError, match="no linear layer"):
        Extractor(nn.Conv2d(3, 3, 1), 4, 4)


def test_the_command_writes_a_file_that_a_stream_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "set", count=3)
    options = ["stream.folder=set", "stream.image_size=16", "stream.workers=0"]
    size: dict[str, Any] = {"resize": 36, "crop": 32, "passes": 2, "device": "cpu"}
    where = {"stream": "image-folder", "set": options, "data": str(tmp_path)}
    extract_features(tmp_path / "out.npz", weights="none", **where, **size)
    said = capsys.readouterr()
    assert "16 + 4 features of 512 numbers" in " ".join(said.out.split())
    assert "it has learned nothing" in said.err
    stream = make(FeaturesSplit, tmp_path, file="out.npz", tasks=2)
    assert stream.class_names == ["a", "b", "c", "d"]
    about = stream.protocol()["data"][0]["about"]
    assert (about["model"], about["passes"]) == ("resnet18", 2)
    assert str(tmp_path) not in json.dumps(about)
    assert about["images"]["data"][0]["name"] == "image-folder"
    assert np.load(tmp_path / "out.npz")["train_image"].tolist() == [*range(8), *range(8)]
    assert {path.name for path in tmp_path.iterdir()} == {"set", "out.npz"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stream": "split-digits"}, "split-digits is not one task of images"),
        ({"stream": "digits", "set": ["epochs=3"]}, "only options of the stream"),
        ({"stream": "digits", "set": ["stream.augment=cifar"]}, "decides it; see --passes"),
        ({"stream": "digits", "out": Path("nowhere/out.npz")}, "there is no folder nowhere"),
    ],
)
def test_what_has_no_features_is_refused(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        extract_features(**{"out": tmp_path / "out.npz", "weights": "none", **given})
    assert not (tmp_path / "out.npz").exists()
