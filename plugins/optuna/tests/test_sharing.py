"""Several `bnn tune` share a study, and are killed: no trial is lost, none is counted twice.

Trial n of a random sampler depends on n and the seed alone. So a study has the same trials with the
same values, bit for bit, whoever carried them out.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from tuning_runs import planned, pretend, tuned

from bnnlab_optuna.outcome import find, write
from bnnlab_optuna.storage import connect, disconnect

pytestmark = pytest.mark.slow


@pytest.fixture
def undisturbed(tmp_path: Path, monkeypatch: Any) -> Callable[..., list[tuple[Any, Any]]]:
    """Return what carries out a study in this process, and returns settings and values."""

    def carry_out(tune: dict[str, Any], **more: Any) -> list[tuple[Any, Any]]:
        folder = tmp_path / "undisturbed"
        folder.mkdir()
        with closing(
            tuned(planned(folder, {**tune, "storage": "sqlite"}, **more), monkeypatch)
        ) as done:
            return found(done.ownership.study.get_trials())

    return carry_out


def found(trials: list[FrozenTrial]) -> list[tuple[Any, Any]]:
    assert [trial.number for trial in trials] == [*range(len(trials))]
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    return [(trial.params, trial.value) for trial in trials]


def trials_of(address: str) -> list[FrozenTrial]:
    storage = connect(address)
    trials = optuna.load_study(study_name="study", storage=storage).get_trials()
    disconnect(storage)
    return trials


COMMAND = """
import sys
sys.modules |= {"matplotlib": None, "sklearn": None}
from bnnlab.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""`bnn` without what it draws pictures and finds importances with: they take most of its time."""


def bnn_tune(file: Path, out: Path) -> "subprocess.Popen[str]":
    """Start a command in a group of processes of its own."""
    words = ["tune", str(file), "--out", str(out), "--name", "study", "--jobs", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(command: "subprocess.Popen[str]") -> str:
    """Wait for a command; return what it said on the way."""
    _, errors = command.communicate(timeout=600)
    assert command.returncode == 0, errors
    return errors


def killed_in_a_trial(commands: "list[subprocess.Popen[str]]", out: Path) -> tuple[Any, int]:
    """Kill a command and its worker in the middle of a trial; return it and the trial's number."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for file in out.glob("study/trial-*/seed-0/metrics.jsonl"):
            run = file.parent
            for owner in (it for it in commands if run.parent / ".lock" in files_of(it.pid)):
                os.killpg(owner.pid, signal.SIGSTOP)
                if not (run / "result.json").exists():
                    os.killpg(owner.pid, signal.SIGKILL)
                    owner.communicate(timeout=120)
                    return owner, int(run.parent.name.removeprefix("trial-"))
                os.killpg(owner.pid, signal.SIGCONT)  # it ended meanwhile
        time.sleep(0.02)
    raise AssertionError("no trial was found in its middle")


def files_of(process: int) -> Iterator[Path]:
    """Yield the files that a process has open."""
    with suppress(OSError):  # it has ended
        for each in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):  # it is closed by now
                yield each.readlink()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing says whose trial it is")
def test_four_commands_share_a_study_and_one_is_killed(tmp_path: Path, undisturbed: Any) -> None:
    """The others go on with its trial."""
    tune = {"trials": 6, "sampler": "random"}
    plan = planned(tmp_path, tune, epochs=12)
    commands = [bnn_tune(tmp_path / "study.toml", tmp_path) for _ in range(4)]
    killed, number = killed_in_a_trial(commands, tmp_path)
    said = "".join(ended(each) for each in commands if each is not killed)
    assert f"trial {number} was left unfinished: it goes on" in said
    assert found(trials_of(plan.address)) == undisturbed(tune, epochs=12)
    table = (plan.folder / "trials.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in table[1:]] == ["complete"] * 6


def test_pictures_are_drawn(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("matplotlib")
    plan = planned(tmp_path, {"trials": 3, "seeds": 2})
    pretend(monkeypatch, 0.5, 0.6, 0.7, 0.5, 0.6, 0.9)
    with closing(tuned(plan, monkeypatch)) as done:
        study = done.ownership.study
        (_, _, *paths), faults = write(plan, study, find(study))
    assert not faults
    assert [path.stem for path in paths] == ["history", "slice", "importances", "intermediate"]
    assert all(path.stat().st_size > 1000 for path in paths)


@pytest.fixture
def postgresql() -> Iterator[str]:
    """Start a server of its own; return the address of its database."""
    places = [Path(path) for path in os.environ["PATH"].split(os.pathsep)]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    programs = [place for place in places if (place / "initdb").exists()]
    if not programs:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg", reason="bnn install 'optuna[postgresql]'")
    demoted: dict[str, Any] = {}
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    if os.geteuid() == 0:  # the server refuses to be root's
        shutil.chown(folder, "nobody")
        demoted = {"user": "nobody"}

    def call(program: str, *words: Any) -> None:
        command = [programs[-1] / program, *words]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, **demoted)

    data = folder / "data"
    try:
        call("initdb", "-D", data, "-U", "tuner", "-A", "trust", "-N")
        start = f"-k {folder} -c listen_addresses= -c fsync=off"
        call("pg_ctl", "-D", data, "-w", "-o", start, "start")
        call("createdb", "-h", folder, "-U", "tuner", "study")
        yield f"postgresql+psycopg://tuner:very-secret@/study?host={folder}"
    finally:
        with suppress(subprocess.CalledProcessError):
            call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing says whose trial it is")
def test_two_machines_share_a_study_on_postgresql(
    tmp_path: Path, undisturbed: Any, postgresql: str
) -> None:
    """Each has a folder of its own, as machines without a shared file system.

    One is killed and started again: it goes on with its trial, which no other sees.
    """
    tune = {"trials": 4, "sampler": "random", "storage": postgresql}
    planned(tmp_path, tune, epochs=12)
    file, one, other = tmp_path / "study.toml", tmp_path / "one", tmp_path / "other"
    first, second = bnn_tune(file, one), bnn_tune(file, other)
    _, number = killed_in_a_trial([first], one)
    assert trials_of(postgresql)[number].state is TrialState.RUNNING
    errors = ended(bnn_tune(file, one))
    assert f"trial {number} was left unfinished: it goes on" in errors
    assert f"trial {number} complete" in errors
    ended(second)

    trials = trials_of(postgresql)
    assert len(trials) in (4, 5), "both may ask for the last one at the same moment"
    assert found(trials)[:4] == undisturbed(tune, epochs=12)
    runs = sorted((place.parent.name, place) for place in tmp_path.glob("o*/study/trial-*/seed-0"))
    assert [name for name, _ in runs] == [f"trial-{trial.number:04}" for trial in trials]
    for trial, (_, place) in zip(trials, runs, strict=True):
        assert json.loads((place / "result.json").read_text())["average_accuracy"] == trial.value
    for folder in (one, other):
        assert any(folder.glob("study/trial-*")), "each has its share"
        for path in folder.rglob("*"):
            assert not path.is_file() or b"very-secret" not in path.read_bytes()
