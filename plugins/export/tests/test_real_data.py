"""Networks of the papers' size on real images: the file predicts what the model predicts."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bnnlab
from bnnlab import Task, TaskStream
from bnnlab_export import Exported, export

DATA = Path(os.environ.get("BNNLAB_DATA", ""))
mnist = pytest.mark.skipif(
    not (DATA / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file(),
    reason="real MNIST is needed: set BNNLAB_DATA to a folder with MNIST/raw",
)
cifar = pytest.mark.skipif(
    not (DATA / "cifar10-images" / "test").is_dir(),
    reason="CIFAR-10 is needed as images: set BNNLAB_DATA to a folder with cifar10-images",
)
pytestmark = pytest.mark.slow


class Few(TaskStream):
    """A stream of one task with the first test images of another one."""

    def __init__(self, stream: TaskStream, count: int) -> None:
        self.input_shape, self.classes = stream.input_shape, stream.classes
        self.class_names, task = stream.class_names, stream[0]
        self._task = replace(task, test=replace(task.test, rows=task.test.rows[:count]))

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Task:
        return [self._task][index]

    def protocol(self) -> dict[str, Any]:
        return {}


def exported(
    stream: TaskStream,
    folder: Path,
    *,
    steps: int,
    batch: int = 50,
    optimizer: str = "adam",
    **model: Any,
) -> Exported:
    """Train a model for a few steps, export it, and compare it on the test part."""
    shape = {"input_shape": stream.input_shape, "classes": stream.classes}
    made = bnnlab.create("model", model.pop("name"), **shape, **model)
    rule = bnnlab.create("rule", "bp", made)
    about = {"examples": len(stream[0].train)} if optimizer == "bayesbinn" else {}
    learning = bnnlab.create("optimizer", optimizer, made, **about)
    made.train()
    for _, (x, y) in zip(range(steps), stream[0].train.batches(batch), strict=False):
        learning.step(rule.closure(made, (x, y)))
    draws = 5 if about else 0
    return export(made, folder / "model.bnn", stream=stream, optimizer=learning, draws=draws)


@mnist
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_mlp(norm: str, tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "mnist")
    found = exported(stream, tmp_path, steps=100, name="mlp", hidden=[2048, 2048], norm=norm)
    assert found.images == 10_000
    assert found.unexplained == 0
    assert found.ratio > 25


@mnist
def test_an_ensemble(tmp_path: Path) -> None:
    stream = bnnlab.create("stream", "mnist")
    found = exported(
        stream, tmp_path, steps=100, optimizer="bayesbinn", name="mlp", hidden=[512, 512],
        norm="batch",
    )  # fmt: skip
    assert found.draws == 5
    assert found.unexplained == 0


@cifar
@pytest.mark.parametrize(
    "model",
    [
        {"name": "vgg-binaryconnect", "activations": "binary"},
        {"name": "vgg-binaryconnect", "activations": "binary", "keep": "first-and-last"},
        {"name": "resnet18"},
        {"name": "mobilenet_v2"},
    ],
    ids=lambda model: "-".join(model.values()),
)
def test_convolutional_networks(model: dict[str, Any], tmp_path: Path) -> None:
    folder = {"folder": str(DATA / "cifar10-images"), "image_size": 32}
    stream = Few(bnnlab.create("stream", "image-folder", **folder), 200)
    found = exported(stream, tmp_path, steps=3, batch=20, **model)
    assert found.images == 200  # and export() accepted it
    if model["name"] != "mobilenet_v2":  # one sign that rounding turns changes all logits
        assert found.unexplained <= 1
