"""What tests of whole runs share: small runs on the embedded digits, and what is left of them."""

import json
import re
from pathlib import Path
from typing import Any

from bnnlab import PluginHost, Result
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
