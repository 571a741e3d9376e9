"""What is killed in the middle of a study changes no result."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from engines import Here

from bnnlab import PluginHost
from bnnlab_studies.plan import make_plan
from bnnlab_studies.sweep import sweep

FILE = """
rule = "bp"
optimizer = "meta"
stream = { name = "permuted-digits", tasks = 2 }
model = { name = "mlp", hidden = [16] }
epochs = 10
batch_size = 10
threads = 1
device = "cpu"
[sweep]
seeds = 2
[sweep.grid]
optimizer.lr = [0.01, 0.1]
[engine]
jobs = 2
"""
LONG = 600  # seconds that a busy machine may take


def measured(study: Path) -> dict[str, str]:
    """Return what each run measured, by its folder, without what differs from run to run."""
    found = {}
    for file in study.glob("*/*/metrics.jsonl"):
        lines = re.sub(r', "(seconds|time)": [\d.]+', "", file.read_text())
        result = json.loads((file.parent / "result.json").read_text())
        assert result["status"] == "complete"
        found[str(file.parent.relative_to(study))] = lines + json.dumps(result["accuracy"])
    return found


def owners(study: Path) -> set[int]:
    """Return the processes that write to runs which train."""
    found = set()
    for file in study.glob("*/*/metrics.jsonl"):
        with suppress(OSError):  # it ends at this moment
            found.add(int((file.parent / ".owner").read_text().split()[1]))
    return {process for process in found if is_alive(process)}


def working(study: Path, besides: int = 0) -> int:
    """Wait until a run trains; return its process."""
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        if found := owners(study) - {besides}:
            return min(found)
        time.sleep(0.02)
    raise AssertionError("no run trains")


def is_alive(process: int) -> bool:
    """Return whether a process runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def start(file: Path) -> "subprocess.Popen[str]":
    words = ["sweep", str(file), "--out", str(file.parent / "runs")]
    pipe: Any = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "bnnlab.cli", *words],
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )


def stop(study: Path, command: "subprocess.Popen[str]", to_all: int | None = None) -> str:
    """Stop a study while a run trains; wait until none does. Return what it said last."""
    working(study)
    if to_all is None:
        command.kill()
    else:
        os.killpg(command.pid, to_all)
    _, err = command.communicate(timeout=LONG)
    until = time.monotonic() + LONG
    while owners(study) and time.monotonic() < until:
        time.sleep(0.1)
    assert not owners(study), "a worker goes on for nobody"
    return err


@pytest.mark.slow
def test_a_study_goes_on_after_a_worker_and_its_own_process_were_killed(tmp_path: Path) -> None:
    """A worker is killed, then its study; its command goes on until Ctrl-C, then to the end."""
    file, study = tmp_path / "small.toml", tmp_path / "runs" / "small"
    file.write_text(FILE)
    first = start(file)
    killed = working(study)
    os.kill(killed, signal.SIGKILL)
    working(study, besides=killed)
    stop(study, first)
    assert first.returncode == -signal.SIGKILL

    second = start(file)
    err = stop(study, second, to_all=signal.SIGINT)
    assert second.returncode == 128 + signal.SIGINT, err
    assert f"to continue: bnn sweep {study}" in err
    assert "Traceback" not in err
    stopped = [*study.glob("*/*/checkpoint/state.pt")]
    done = {path: path.stat().st_mtime_ns for path in study.glob("*/*/result.json")}
    complete = {p for p in done if json.loads(p.read_text())["status"] == "complete"}
    assert len(complete) < len(stopped) <= 4

    third = start(file)
    out, err = third.communicate(timeout=LONG)
    assert third.returncode == 0, err
    assert f"4 runs, {len(complete)} done" in out
    assert all(path.stat().st_mtime_ns == done[path] for path in complete)
    alone = make_plan(PluginHost(), file, {"out": str(tmp_path / "alone")})
    sweep(PluginHost(), alone, Here())
    assert len(measured(study)) == 4
    assert measured(study) == measured(alone.folder)
