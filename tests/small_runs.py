"""What tests of whole runs share: small runs on the embedded digits, and what is left of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from bnnlab import PluginHost, Result, RunError
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.preparing import prepare
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RunFolder

SMALL: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 200,
    "device": "cpu",
    "stream": {"name": "permuted-digits", "tasks": 2},
    "model": {"name": "mlp", "hidden": [16]},
}


def experiment(host: PluginHost, out: Path | None, *layers: dict[str, Any]) -> Experiment:
    """Return a small run that writes to `out`/run, or to no folder."""
    where = {"out": None if out is None else str(out), "name": "run" if out else None}
    return prepare(host, resolve(host, [SMALL, *layers, where]))


def resume(host: PluginHost, folder: Path, **more: Any) -> Experiment:
    """Return the run that goes on in a folder."""
    return prepare(
        host, resolve(host, [read_config(folder / "run.toml")]), RunFolder(folder), **more
    )


def read_json(path: Path) -> Any:
    """Return what a file holds; NaN and Infinity are no JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {path.name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def without_times(folder: Path) -> str:
    """Return metrics.jsonl without what differs from run to run."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return re.sub(r', "(seconds|time)": [\d.]+', "", text)


def found(result: Result) -> dict[str, Any]:
    """Return a result without what differs from run to run."""
    return {
        key: value for key, value in result.as_dict().items() if key not in ("seconds", "run_id")
    }


Left = tuple[str, dict[str, Any], dict[str, torch.Tensor]]
"""What must not depend on where a run was stopped: its metrics, result and weights."""


def left(run: Experiment) -> Left:
    """Carry out a run, and return what is left of it."""
    result = run.run()
    assert result.folder is not None
    return without_times(result.folder), found(result), result.model.state_dict()


def assert_same(one: Left, other: Left) -> None:
    """Check that two runs left the same, bit for bit."""
    assert one[:2] == other[:2]
    for name, value in one[2].items():
        assert torch.equal(value, other[2][name]), name


class Crash(BaseException):
    """What no part of a run expects."""


def left_torn(host: PluginHost, run: Experiment, patch: pytest.MonkeyPatch) -> tuple[Left, int]:
    """Carry out a run that crashes after each checkpoint; return what is left, and the crashes."""
    from bnnlab.storage import checkpoint

    save, folder = checkpoint.save, run.folder

    def crashing(*args: Any) -> None:
        save(*args)
        raise Crash

    patch.setattr("bnnlab.storage.checkpoint.save", crashing)
    assert folder is not None
    for crashes in range(200):
        try:
            return left(run), crashes
        except RunError as error:
            if not isinstance(error.__cause__, Crash):
                raise
            run = resume(host, folder.path)
    raise AssertionError("it does not come to its end")
