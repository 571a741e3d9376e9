"""Run folders, written by hand: what a run would leave, in no time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return what writes a run's folder: its name, average accuracy, and what is special of it."""

    def make(
        name: str, accuracy: float | None = None, *, status: str = "complete", **said: Any
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        protocol = said.pop("protocol", {"epochs": 1})
        more = said.pop("result", {})
        seed = said.get("seed", 0)
        settings = {
            "epochs": 1,
            "seed": seed,
            "rule": {"name": "acme/bp"},
            "optimizer": {"name": "acme/adam", "lr": 0.01},
            "model": {"name": "acme/mlp", "hidden": [16]},
            "stream": {"name": "acme/digits", "tasks": 2},
            **said,
        }
        (folder / "run.toml").write_text(tomli_w.dumps(settings))
        if accuracy is not None:
            result = {
                "status": status,
                "accuracy": [[accuracy, 0.1], [0.5, accuracy]],
                "average_accuracy": accuracy,
                "forgetting": None,
                "uncertainty": {"ece": 0.25},
                "tasks": ["one", "two"],
                "protocol": "".join(f"{key}{it}" for key, it in protocol.items()),
                "protocol_description": protocol,
                "seed": seed,
                "seconds": 1.5,
                "components": {},
                **more,
            }
            (folder / "result.json").write_text(json.dumps(result))
        return folder

    return make
