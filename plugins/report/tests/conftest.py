"""Folders of runs, written by hand: what runs would leave, in no time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

MakeRun = Callable[..., Path]


def metrics(accuracy: float, layer: str) -> list[dict[str, Any]]:
    """Return the lines of a run of two tasks and two epochs."""
    latent = {"low": -1.0, "high": 1.0, "counts": [0, *[2] * 39, 1]}
    lines: list[dict[str, Any]] = [{"event": "untrained", "accuracy": [0.1, 0.1]}]
    for task in range(2):
        for epoch in range(2):
            about = {"task": task, "epoch": epoch, "loss": 1.0 - accuracy / (epoch + 1)}
            lines.append({"event": "epoch", **about, "train_accuracy": accuracy / (2 - epoch)})
        weights = {
            "name": layer,
            "flips": 0.1,
            "latent": latent,
            "scale": [1.0, 2.0, 3.0, 4.0, 5.0],
        }
        lines.append({"event": "weights", "task": task, "layers": [weights]})
        row = [accuracy, 0.1] if task == 0 else [0.5, accuracy]
        lines.append({"event": "evaluation", "task": task, "accuracy": row, "flips": 0.2})
    return lines


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return what writes a run's folder: its name, accuracy when learned, and what is special."""

    def make(
        name: str,
        accuracy: float = 0.6,
        *,
        status: str | None = "complete",
        layer: str = "segments.0.weight",
        result: dict[str, Any] | None = None,
        **said: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        settings = {
            "epochs": 2,
            "seed": 0,
            "rule": {"name": "acme/bp"},
            "optimizer": {"name": "acme/adam", "lr": 0.01},
            "model": {"name": "acme/mlp", "hidden": [16]},
            "stream": {"name": "acme/digits", "tasks": 2},
            **said,
        }
        (folder / "run.toml").write_text(tomli_w.dumps(settings))
        lines = metrics(accuracy, layer)
        if status is None:
            lines = lines[:5]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(it) + "\n" for it in lines))
        found = {
            "status": status,
            "accuracy": [[accuracy, 0.1], [0.5, accuracy]],
            "average_accuracy": (0.5 + accuracy) / 2,
            "learning_accuracy": accuracy,
            "forgetting": accuracy - 0.5,
            "retention": [accuracy, 0.5],
            "plasticity": None,
            "flips": [0.2, accuracy / 2],
            "uncertainty": {"ece": accuracy / 3},
            "tasks": ["one", "two"],
            "protocol": "0123456789abcdef",
            "protocol_description": {"stream": {"tasks": 2}},
            "seed": settings["seed"],
            "seconds": 1.5 + accuracy,
            "components": {"rule": {"name": "bp", "distribution": "acme", "version": "1.0"}},
            **(result or {}),
        }
        if status:
            (folder / "result.json").write_text(json.dumps(found))
        return folder

    return make


@pytest.fixture
def study(make_run: MakeRun, tmp_path: Path) -> Path:
    """Return a folder with three cells of three seeds each."""
    for cell, shift in (("adam", 0.0), ("meta", 0.1), ("bop", -0.05)):
        for seed, accuracy in enumerate((0.6, 0.66, 0.71)):
            its = {"optimizer": {"name": f"acme/{cell}", "lr": 0.01}, "seed": seed}
            make_run(f"study/{cell}/seed-{seed}", accuracy + shift * (1 + seed / 10), **its)
    return tmp_path / "study"
