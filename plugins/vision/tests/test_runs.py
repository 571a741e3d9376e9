"""Whole runs on image folders: the same however they are read, and after an interruption."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from bnnlab import PluginHost
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.preparing import prepare
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RunFolder

# Python 3.12 and later warn of every fork of a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def experiment(data: Path, out: Path, **options: Any) -> Experiment:
    stream = {"name": "split-image-folder", "folder": "whole", "image_size": 8, "tasks": 2}
    config = {
        "epochs": 2,
        "batch_size": 4,
        "data": str(data),
        "out": str(out),
        "name": "run",
        "stream": {**stream, "augment": "cifar", **options},
        "model": {"name": "mlp", "hidden": [16]},
    }
    return prepare(PluginHost(), resolve(PluginHost(), [config]))


def metrics(folder: Path) -> str:
    return re.sub(r', "(seconds|time)": [\d.]+', "", (folder / "metrics.jsonl").read_text())


def test_a_run_is_the_same_however_images_are_read(image_folders: Path, tmp_path: Path) -> None:
    ways: list[dict[str, Any]] = [
        {"in_memory": "always", "workers": 0},
        {"in_memory": "never", "workers": 0},
        {"in_memory": "never", "workers": 2},
    ]
    found = []
    for number, way in enumerate(ways):
        result = experiment(image_folders, tmp_path / str(number), **way).run()
        found.append((metrics(tmp_path / str(number) / "run"), result.protocol))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_an_interrupted_run_goes_on_bit_for_bit(
    in_memory: str, image_folders: Path, tmp_path: Path
) -> None:
    def interrupt(*now: int) -> None:
        if now[:3] == (1, 1, 2):
            raise KeyboardInterrupt

    options = {"in_memory": in_memory, "workers": 2, "augment": "imagenet"}
    whole = experiment(image_folders, tmp_path / "whole", **options).run()
    torn = experiment(image_folders, tmp_path / "torn", **options)
    with pytest.raises(KeyboardInterrupt):
        torn.run(interrupt)
    folder = tmp_path / "torn" / "run"
    config = resolve(PluginHost(), [read_config(folder / "run.toml")])
    result = prepare(PluginHost(), config, RunFolder(folder)).run()
    assert metrics(folder) == metrics(tmp_path / "whole" / "run")
    wanted = whole.model.state_dict()
    for key, value in result.model.state_dict().items():
        assert torch.equal(value, wanted[key]), key
