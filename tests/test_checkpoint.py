"""Wherever a run stops, it goes on bit for bit; what is damaged is told, and never used."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from bnnlab import PluginHost, checkpoint
from bnnlab.config import read_config, resolve
from bnnlab.experiment import Experiment
from bnnlab.records import RunFolder

SMALL: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 500,
    "checkpoint_minutes": 0,
    "device": "cpu",
    "stream": {"name": "permuted-digits", "tasks": 2, "validation": 0.2},
    "model": {"name": "mlp", "hidden": [8]},
}
LEARNERS: dict[str, dict[str, Any]] = {
    "meta, augmented": {"rule": "dfa", "optimizer": "meta", "stream": {"augment": "cifar"}},
    "bimu, told of the unknown": {"rule": "bp", "optimizer": {"name": "bimu", "test_draws": 2}},
    "ewc and fresh models": {
        "rule": "bp",
        "optimizer": {"name": "ewc", "base": "adam"},
        "fresh": True,
        "diagnose": True,
    },
    "told tasks": {
        "rule": "dfa",
        "optimizer": "sgd",
        "model": {"norm": "batch", "statistics": "per-task", "affine": True},
        "stream": {"task_ids": True},
        "uncertainty": True,
    },
}


class Crash(BaseException):
    """What no part of a run expects."""


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


def experiment(host: PluginHost, out: Path, *layers: dict[str, Any]) -> Experiment:
    return Experiment(host, resolve(host, [SMALL, *layers, {"out": str(out), "name": "run"}]))


def resume(host: PluginHost, folder: Path, **more: Any) -> Experiment:
    return Experiment(
        host, resolve(host, [read_config(folder / "run.toml")]), RunFolder(folder), **more
    )


def left(run: Experiment) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    """What must not depend on where a run was stopped: its metrics, result and weights."""
    result = run.run()
    assert result.folder is not None
    text = (result.folder / "metrics.jsonl").read_text(encoding="utf-8")
    found = {key: value for key, value in result.as_dict().items() if key != "seconds"}
    return re.sub(r', "seconds": [\d.]+', "", text), found, result.model.state_dict()


def assert_same(one: Any, other: Any) -> None:
    assert one[:2] == other[:2]
    for name, value in one[2].items():
        assert torch.equal(value, other[2][name]), name


@pytest.mark.parametrize("name", LEARNERS)
def test_a_run_goes_on_from_every_checkpoint_bit_for_bit(
    name: str, host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It crashes after each of them: between steps, scored tasks, epochs, tasks, fresh models."""
    monkeypatch.setattr("bnnlab.stream.PIECE", 2 * 500 * 64)  # so that an epoch has two pieces
    monkeypatch.setattr("bnnlab.evaluation.HELD_EXAMPLES", 500)  # and an evaluation several groups
    whole = left(experiment(host, tmp_path / "whole", LEARNERS[name]))
    save = checkpoint.save

    def crashing(*args: Any) -> None:
        save(*args)
        raise Crash

    monkeypatch.setattr("bnnlab.checkpoint.save", crashing)
    run = experiment(host, tmp_path / "torn", LEARNERS[name])
    crashes = 0
    while True:
        try:
            torn = left(run)
            break
        except Crash:
            crashes += 1
            run = resume(host, tmp_path / "torn" / "run")
    steps = 2 * 2 * 3
    assert crashes > steps + 2 * 2, "after every step, every epoch, and every scored task"
    assert_same(torn, whole)
