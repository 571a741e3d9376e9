"""Several processes share a study: no trial is lost, none is counted twice."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import optuna
import pytest
import tomli_w
from optuna.trial import TrialState
from tuning_runs import SMALL, planned

from bnnlab_optuna.storage import connect, disconnect

SPACE = {"optimizer": {"lr": {"low": 1e-3, "high": 0.1}}}


def share(file: Path, outs: list[Path]) -> list[list[int]]:
    """Let a process per folder take its share; return the numbers of their trials."""
    script = str(Path(__file__).with_name("share.py"))
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(file), str(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for out in outs
    ]
    answers = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, answers, strict=True):
        assert process.returncode == 0, errors
    return [[int(number) for number in out.split()] for out, _ in answers]


def trials_of(address: str) -> list[optuna.trial.FrozenTrial]:
    storage = connect(address)
    trials = optuna.load_study(study_name="study", storage=storage).get_trials()
    disconnect(storage)
    return trials


def test_two_processes_share_a_sqlite_study(tmp_path: Path) -> None:
    plan = planned(tmp_path, {"trials": 6, "sampler": "random", "space": SPACE})
    numbers = share(tmp_path / "study.toml", [tmp_path] * 2)
    assert sorted(chain(*numbers)) == [*range(6)]
    trials = trials_of(plan.address)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert len({trial.value for trial in trials}) == 6


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """Start a server of its own; return the address of its database."""
    places = [Path(path) for path in os.environ["PATH"].split(os.pathsep)]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = [place for place in places if (place / "initdb").exists()]
    if not found:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg", reason="pip install 'bnnlab-optuna[postgresql]'")
    demoted: dict[str, Any] = {}
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    if os.geteuid() == 0:  # the server refuses to be root's
        shutil.chown(folder, "nobody")
        demoted = {"user": "nobody"}
    run = {"cwd": folder, "check": True, "stdout": subprocess.DEVNULL, **demoted}
    data, programs = folder / "data", found[-1]
    try:
        subprocess.run([programs / "initdb", "-D", data, "-U", "tuner", "-A", "trust", "-N"], **run)
        start = f"-k {folder} -c listen_addresses= -c fsync=off"
        subprocess.run([programs / "pg_ctl", "-D", data, "-w", "-o", start, "start"], **run)
        subprocess.run([programs / "createdb", "-h", folder, "-U", "tuner", "study"], **run)
        yield f"postgresql+psycopg://tuner:very-secret@/study?host={folder}"
    finally:
        with suppress(subprocess.CalledProcessError):
            subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder)


def test_two_machines_share_a_study_on_postgresql(tmp_path: Path, postgresql: str) -> None:
    """Each has a folder of its own, as on machines without a shared file system."""
    file = tmp_path / "study.toml"
    tune = {"trials": 8, "sampler": "random", "space": SPACE, "storage": postgresql}
    file.write_text(tomli_w.dumps({**SMALL, "tune": tune}))
    folders = [tmp_path / "one", tmp_path / "other"]
    numbers = share(file, folders)
    trials = trials_of(postgresql)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert len(trials) in (8, 9), "both may ask for the last one at the same moment"
    assert sorted(chain(*numbers)) == [trial.number for trial in trials]
    assert all(numbers), "each has its share"
    for folder, own in zip(folders, numbers, strict=True):
        written = {f"trial-{number:04}" for number in own}
        assert written <= {path.name for path in (folder / "study").iterdir()}
        for path in folder.rglob("*"):
            assert not path.is_file() or b"very-secret" not in path.read_bytes()


def bnn_tune(folder: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "bnnlab.cli", "tune", str(folder / "study.toml"), *more]
    return subprocess.Popen(
        [*command, "--out", str(folder), "--name", "study", "--jobs", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Any) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_tuner_that_is_killed_is_gone_on_with(tmp_path: Path) -> None:
    """Its second trial is in the middle. It is gone on with, and is as if nothing had happened."""
    tune = {"trials": 3, "space": SPACE}
    values = []
    for name in ("whole", "parts"):
        folder = tmp_path / name
        folder.mkdir()
        plan = planned(folder, tune, epochs=25)
        if name == "parts":
            first = bnn_tune(folder)
            log = plan.folder / "trial-0001/seed-0/metrics.jsonl"
            until(lambda log=log: log.exists() and '"epoch": 3' in log.read_text())
            first.kill()
            first.communicate(timeout=120)
            assert [t.state for t in trials_of(plan.address)][1] is TrialState.RUNNING
        out, errors = bnn_tune(folder).communicate(timeout=600)
        assert "3 trials: " in out, errors
        trials = trials_of(plan.address)
        assert [trial.number for trial in trials] == [0, 1, 2]
        values.append([(trial.params, trial.value) for trial in trials])
    assert "trial 1 was left unfinished" in errors
    assert values[0] == values[1]


@pytest.mark.slow
def test_four_commands_share_a_study(tmp_path: Path) -> None:
    plan = planned(tmp_path, {"trials": 6, "space": SPACE, "pruner": "none"})
    commands = [bnn_tune(tmp_path) for _ in range(4)]
    for each in commands:
        _, errors = each.communicate(timeout=600)
        assert each.returncode == 0, errors
    assert [trial.state for trial in trials_of(plan.address)] == [TrialState.COMPLETE] * 6
    table = (plan.folder / "trials.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in table[1:]] == ["complete"] * 6
