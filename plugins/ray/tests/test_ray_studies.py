"""Studies on a local cluster: what is killed in the middle changes no result."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from engines import Here

from bnnlab import PluginHost
from bnnlab_ray.engine import Ray
from bnnlab_studies.plan import Plan, make_plan
from bnnlab_studies.sweep import sweep

FILE = """
rule = "bp"
stream = {{ name = "permuted-digits", tasks = 2 }}
model = {{ name = "mlp", hidden = [16] }}
epochs = {epochs}
batch_size = 10
threads = 1
device = "cpu"
[sweep]
seeds = {seeds}
[sweep.grid]
optimizer.lr = {rates}
"""


def write(folder: Path, *, seeds: int, rates: list[float], epochs: int) -> Path:
    file = folder / "small.toml"
    file.write_text(FILE.format(seeds=seeds, rates=rates, epochs=epochs))
    return file


def results(study: Path) -> dict[str, Any]:
    """Return what each run measured, by its folder."""
    files = sorted(study.glob("*/*/result.json"))
    found = {str(each.parent.relative_to(study)): json.loads(each.read_text()) for each in files}
    return {name: (it["status"], it["accuracy"], it["flips"]) for name, it in found.items()}


def working(study: Path) -> Iterator[int]:
    """Yield the processes that train at the moment, by what they wrote into the runs' folders."""
    for owner in study.glob("*/*/.owner"):
        with suppress(OSError):  # it ends at this moment
            if (owner.parent / "metrics.jsonl").exists():
                yield int(owner.read_text().split()[1])


def kill_one(study: Path, goes_on: Callable[[], bool] = lambda: True) -> None:
    """Wait until a run trains; kill its process."""
    while not (found := [*working(study)]):
        assert goes_on()
        time.sleep(0.02)
    os.kill(found[0], signal.SIGKILL)


def planned(file: Path, folder: Path) -> Plan:
    return make_plan(PluginHost(), file, {"out": str(folder)})


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_changes_no_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path, seeds=1, rates=[0.01, 0.1], epochs=4)
    plan = planned(file, tmp_path / "killed")
    killer = Thread(target=kill_one, args=(plan.folder,), daemon=True)
    killer.start()
    sweep(PluginHost(), plan, Ray())
    assert "died: it goes on in a new one" in caplog.text
    sweep(PluginHost(), planned(file, tmp_path), Here())
    assert len(results(plan.folder)) == 2
    assert results(plan.folder) == results(tmp_path / "small")


def command(file: Path) -> list[str]:
    out = ["--out", str(file.parent / "ray"), "--set", "engine.name=ray", "--json"]
    return [sys.executable, "-m", "bnnlab.cli", "sweep", str(file), *out]


@pytest.mark.slow
def test_a_study_goes_on_after_a_worker_and_its_own_process_were_killed(tmp_path: Path) -> None:
    """Each run is made once, and equal to that of the undisturbed engine of this process."""
    file = write(tmp_path, seeds=3, rates=[0.01, 0.1], epochs=2)
    study = tmp_path / "ray" / "small"
    first = subprocess.Popen(command(file), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        kill_one(study, lambda: first.poll() is None)
        while first.poll() is None and not results(study):
            time.sleep(0.1)
    finally:
        first.kill()
        out, err = first.communicate(timeout=60)
    assert first.returncode == -9, err
    assert out == b""
    complete = [
        study / name for name, (status, *_) in results(study).items() if status == "complete"
    ]
    done = {path / "result.json": (path / "result.json").stat().st_mtime_ns for path in complete}
    assert 1 <= len(done) < 6

    second = subprocess.run(command(file), capture_output=True, check=True, timeout=300)
    assert json.loads(second.stdout)
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())
    sweep(PluginHost(), planned(file, tmp_path), Here())
    assert len(results(study)) == 6
    assert results(study) == results(tmp_path / "small")
