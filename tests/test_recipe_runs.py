"""Every recipe runs: two steps per task, of a small network, on made data of the real layout."""

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

import bnnlab
from bnnlab import PluginHost
from bnnlab.registry.recipes import find_recipes
from bnnlab.settings.fit import check
from bnnlab.settings.layers import layers_of_recipe, resolve
from bnnlab.settings.run import Choice
from bnnlab_vision.contracts import idx, write_images

HOST = PluginHost()
RECIPES = find_recipes(HOST)
QUICK = {
    "bayesbinn/table2-mnist",
    "bimu/table1-bimu",
    "dfa/permuted-mnist",
    "eqprop/fc-1h",
    "mesu/fig3",
    "metaplasticity/fig2d",
    "vit/cifar10-5-vit",
}
"""One recipe per plugin; the others take longer together than `make test` may."""
SMALL = {
    "dim": 12,
    "depth": 1,
    "heads": 2,
    "image_size": 32,
    "patch": 16,
    "free_steps": 3,
    "nudge_steps": 2,
    "train_draws": 1,
    "test_draws": 2,
}
"""What options are set to where they are larger."""


def write_mnist(folder: Path) -> None:
    """Write the four files of MNIST, of noise: 40 images for training, 20 for test."""
    random = np.random.RandomState(0)
    folder.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 20)):
        images = random.randint(0, 256, (count, 28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))


def write_cifar(data: Path, cls: Any, classes: int, patch: pytest.MonkeyPatch) -> None:
    """Write a folder of CIFAR, two images of each class in each part; torchvision expects it."""
    random, labels = np.random.RandomState(0), 2 * [*range(classes)]
    folder, kind = data / cls.base_folder, "fine_labels" if classes == 100 else "labels"
    folder.mkdir()

    def dump(name: str, content: dict[str, Any]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    for part in ("train", "test"):
        pixels = random.randint(0, 256, (len(labels), 3072)).astype(np.uint8)
        patch.setattr(cls, f"{part}_list", [dump(part, {"data": pixels, kind: labels})])
    name, md5 = dump("meta", {"names": [*map(str, range(classes))]})
    patch.setattr(cls, "meta", {"filename": name, "key": "names", "md5": md5})


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a data folder with all data sets that recipes name."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("MNIST", "FashionMNIST"):
        write_mnist(folder / name / "raw")
    random = np.random.RandomState(0)
    for classes in (10, 100):
        labels = np.arange(2 * classes) % classes
        x, test_x = random.normal(size=(2, len(labels), 6))
        file = folder / f"cifar{classes}.npz"
        np.savez(file, train_x=x, train_y=labels, test_x=test_x, test_y=labels)
    for part, count in (("train", 2), ("val", 1)):
        write_images(folder / "imagenette2-320" / part, map(str, range(10)), count)
    names = [f"n{number:08}" for number in range(200)]
    write_images(folder / "tiny-imagenet-200" / "train", names, 2)
    (folder / "tiny-imagenet-200" / "wnids.txt").write_text("\n".join(names))
    with pytest.MonkeyPatch.context() as patch:
        write_cifar(folder, datasets.CIFAR10, 10, patch)
        write_cifar(folder, datasets.CIFAR100, 100, patch)
        yield folder


def smaller(choice: Choice) -> dict[str, Any]:
    """Return options that make a component small, and a stream short."""
    found: dict[str, Any] = {name: smaller(part) for name, part in choice.parts.items()}
    for name, value in choice.options.items():
        if name in ("hidden", "channels"):
            found[name] = [8] * len(value)
        elif name in SMALL and value > SMALL[name]:
            found[name] = SMALL[name]
    if "split" not in choice.component.name and choice.options.get("tasks", 0) > 2:
        found["tasks"] = 2
    if choice.component.name in ("vgg-binaryconnect", "vgg19", "mobilenet_v2"):
        found["width"] = 0.05
    return found


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each.name, marks=[] if each.name in QUICK else pytest.mark.slow)
        for each in RECIPES
    ],
)
def test_a_recipe_runs_for_two_steps(name: str, data: Path) -> None:
    config = resolve(HOST, layers_of_recipe(HOST, name))
    small: dict[str, Any] = {str(kind): smaller(its) for kind, its in config.choices.items()}
    if config.schedule != "constant":
        small |= {"schedule_by": "step", "schedule_at": [1] if config.schedule_at else []}
    result = bnnlab.run(small, recipe=name, steps=2, data=data, threads=1)
    assert result.status == "complete"
    assert len(result.accuracy) == len(result.accuracy[-1]) >= 1


def test_every_short_form_fits() -> None:
    shortened = [each for each in RECIPES if each.short is not None]
    assert len(shortened) >= 10
    for each in shortened:
        config = resolve(HOST, layers_of_recipe(HOST, each.name, short=True))
        assert check(HOST, config).compatible, each.name
        assert each.paper, each.name


def test_a_recipe_of_a_paper_says_where_its_experiment_is() -> None:
    assert {each.name for each in RECIPES} >= QUICK
    for each in RECIPES:
        assert bool(each.paper) == bool(each.figure), each.name
