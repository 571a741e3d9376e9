"""Runs in W&B: read back, received by a server, resumed; and what happens when something fails."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import wandb
from small_runs import SMALL, metrics, without_times
from wandb_server import Server, serving

import bnnlab
from bnnlab.cli import main
from bnnlab.errors import NOTE, UsageError
from bnnlab.storage.checkpoint import CHECKPOINT
from bnnlab.storage.folder import METRICS
from bnnlab_testing import TrackerContract
from bnnlab_tracking.watched import Watched
from bnnlab_wandb.contracts import line_of, offline, read
from bnnlab_wandb.limits import MODES, faults

RUN = "0123456789abcdef"
LATE = 30.0
"""Seconds before each answer of a server that is slow."""
ODD = {
    "event": "odd",
    "none": None,
    "list": [1, None, {"x": 1.5}, []],
    "deep": {"a": {"b.c": [2**53], "d/e": "text"}},
    "truth": True,
    "small": 1e-300,
}
"""A line of a probe."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


def make_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "study" / "cell" / "seed-0"
    folder.mkdir(parents=True)
    (tmp_path / "study" / "study.toml").touch()
    own = 'seed = 0\nout = "/home/me"\n'
    nested = 'teacher = "/home/me/x.pt"\nbase = {files = ["/home/me/y", "rel"]}\n'
    (folder / "run.toml").write_text(f'{own}[rule]\nname = "bp"\n{nested}')
    environment = {"bnnlab": "0.1.0", "command": ["/home/me/bnn"]}
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


def watch(folder: Path, *, resumed: bool = False, **options: Any) -> Watched:
    trackers = {"bnnlab-wandb/wandb": {"patience": 60.0, "mode": "online", **options}}
    return Watched(folder, trackers, RUN, {"epochs": 1}, resumed=resumed)


def save(run: Watched, folder: Path, begin: int, end: int) -> None:
    """Log lines, with a checkpoint after each."""
    for number in range(begin, end):
        line = {**ODD, "number": number, "seconds": 1.0, "time": 1.7e9 + number}
        with (folder / METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")
        run.count()
        run.saved(folder / CHECKPOINT)


def upload(folder: Path, *command: str) -> None:
    """Carry out the command that was told; it makes a folder `wandb` where it is called."""
    words, how = [sys.executable, "-m", *command], {"cwd": folder, "stdin": subprocess.DEVNULL}
    subprocess.run(words, check=True, capture_output=True, timeout=60, **how)


def until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_offline_run_holds_every_line_and_is_uploaded_by_the_command_that_is_told(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    its = {"mode": "offline", "tags": ["a", "b"], "project": "p", "artifact": True}
    with caplog.at_level(NOTE, "bnnlab"):
        result = bnnlab.run(SMALL, out=tmp_path, name="run", track={"wandb": its})
    folder = tmp_path / "run"
    (place,) = offline(folder)
    found, lines = read(place), metrics(folder)
    *records, last = found.history
    assert [line_of(each) for each in records] == lines
    assert [each["_step"] for each in found.history] == [*range(len(lines) + 1)]
    assert [each["_timestamp"] for each in records] == [line["time"] for line in lines]
    weights = next(each for each in records if each["event"] == "weights")
    layer = weights["weights/layers"][0]
    shown = weights[f"latent/{layer['name']}"]
    assert shown["values"] == layer["latent"]["counts"]
    assert [shown["bins"][0], shown["bins"][-1]] == pytest.approx(
        [layer["latent"]["low"], layer["latent"]["high"]]
    )
    assert weights[f"flips/{layer['name']}"] == layer["flips"]
    evaluation = records[-1]
    assert evaluation["accuracy/task 2"] == result.accuracy[1][1]
    assert last["matrix/table"]["nrows"] == 2
    assert {"matrix/heat map", "pictures/accuracy", "pictures/weights"} <= last.keys()
    assert found.config["stream"]["tasks"] == 2
    assert found.config["protocol"] == result.protocol
    assert not {"out", "data", "track", "command"} & {*found.config, *found.config["environment"]}
    assert found.summary["average_accuracy"] == result.average_accuracy
    assert (found.run.project, [*found.run.tags]) == ("p", ["a", "b"])
    assert found.exit_code == 0
    (said,) = [r.getMessage() for r in caplog.records if "upload" in r.getMessage()]
    command = said.removeprefix("track wandb: to upload it later: ").split()
    assert command == ["wandb", "sync", str(place)]
    upload(tmp_path, *command)
    sent = server.runs[result.run_id]
    assert [line_of(each) for each in sent.lines[:-1]] == lines
    assert f"run-{result.run_id}" in sent.artifacts


def test_a_killed_run_goes_on_in_the_same_run_of_wandb(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_TAGS", "a,b")
    folder = make_folder(tmp_path)
    run = watch(folder)
    save(run, folder, 0, 3)
    (delivery,) = run.deliveries
    assert delivery.process
    assert delivery.process.stdin
    delivery.process.stdin.close()  # as when this process is killed
    delivery.process.wait(60)
    delivery.close()
    kept = server.runs[RUN]
    assert (len(kept.history), kept.exit_code) == (3, 1)
    (folder / "track/bnnlab-wandb/wandb.json").unlink()  # the server knows better
    run = watch(folder, resumed=True)
    save(run, folder, 3, 5)
    run.end("complete")
    assert [line_of(each) for each in kept.lines[:5]] == metrics(folder)
    assert kept.exit_code == 0
    assert kept.variables["groupName"] == "study"
    assert kept.variables["displayName"] == "cell/seed-0"
    assert kept.variables["project"] == "theirs"
    assert kept.variables["tags"] == ["a", "b"]
    nested = {"teacher": "x.pt", "base": {"files": ["y", "rel"]}}
    assert kept.config["rule"] == {"name": "bp", **nested}
    assert "/home/me" not in json.dumps([kept.variables, kept.config])


def _count(folder: Path) -> int:
    ledger = folder / "track/bnnlab-wandb/wandb.json"
    return int(json.loads(ledger.read_text())["lines"]) if ledger.exists() else 0


def _core_of(process: int) -> int:
    """Return the id of the process wandb-core that a tracker's process started."""
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = each.read_text().rpartition(")")[2].split()
            name = (each.parent / "comm").read_text().strip()
        except OSError:
            continue
        if name == "wandb-core" and int(words[1]) == process:
            return int(each.parent.name)
    return 0


def cut(name: str, answer: Any) -> Any:
    """Leave out of an answer what wandb-core takes for there; it ends with a Go panic."""
    return {"data": {"createRunFiles": None}} if name == "CreateRunFiles" else answer


@pytest.mark.parametrize("fault", ["core killed", "answers cut", "answers late", "no server"])
def test_a_failure_is_named_once_and_no_line_is_lost_or_there_twice(
    fault: str,
    tmp_path: Path,
    server: Server,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = make_folder(tmp_path)
    patience = 60.0
    if fault == "answers cut":
        server.spoil = cut
    if fault == "answers late":
        patience = 3.0
    if fault == "no server":
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        patience = 3.0
    with caplog.at_level(logging.INFO, "bnnlab.tracking"):
        run = watch(folder, patience=patience)
        save(run, folder, 0, 2)
        if fault == "core killed":
            until(lambda: _count(folder) == 2)
            (delivery,) = run.deliveries
            assert delivery.process
            if not (core := _core_of(delivery.process.pid)):
                pytest.skip("the system has no /proc to find wandb-core in")
            os.kill(core, signal.SIGKILL)
        if fault == "answers late":
            until(lambda: _count(folder) == 2)
            server.delay = LATE
        save(run, folder, 2, 3)
        run.end("complete")
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "track wandb stopped: " in said
    advice = caplog.records[-1].getMessage()
    if fault == "core killed":  # the server is well
        assert advice == "track wandb: a second attempt delivered all"
        assert [line_of(each) for each in server.runs[RUN].lines] == metrics(folder)
        return
    if fault != "no server":  # some lines may have arrived: `wandb sync` would append all
        assert advice == f"track wandb: to deliver what is missing: bnn run --resume {folder}"
        assert not offline(folder)
        server.spoil, server.delay = (lambda _, answer: answer), 0.0
        watch(folder, resumed=True).end("complete")
        assert [line_of(each) for each in server.runs[RUN].lines] == metrics(folder)
        return
    (place,) = offline(folder)
    assert advice == f"track wandb: to upload it later: wandb sync {place}"
    lines = [line_of(each) for each in read(place).history[:3]]
    assert lines == metrics(folder)


@pytest.mark.parametrize(
    ("options", "variables", "message"),
    [
        ({"tags": ["a", ""]}, {}, "track.wandb.tags: the tag '' has not 1 to 64 characters."),
        ({"tags": ["x" * 65]}, {}, "track.wandb.tags: the tag 'xxx"),
        ({"project": "a/b"}, {}, "track.wandb.project: 'a/b' is no name of a project"),
        ({}, {"WANDB_PROJECT": "x" * 129}, "WANDB_PROJECT: 'xxx"),
        ({}, {"WANDB_TAGS": "a,"}, "WANDB_TAGS: the tag '' has not"),
        ({}, {"WANDB_MODE": "onlin"}, "W&B has no mode 'onlin'. Did you mean 'online'?"),
        ({"mode": "offline"}, {"WANDB_MODE": ""}, "WANDB_MODE: W&B has no mode ''. Choose from"),
    ],
)
def test_what_wandb_refuses_is_refused_before_the_run(
    options: dict[str, Any],
    variables: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=re.escape(message)):
        bnnlab.run(SMALL, out=tmp_path / "runs", track={"wandb": options})
    assert not (tmp_path / "runs").exists()
    with pytest.raises((ValueError, wandb.errors.UsageError)):
        _ask_wandb(options, variables)


def test_what_is_just_not_refused_is_taken_by_wandb() -> None:
    options = {"tags": ["x" * 64], "project": "x" * 128}
    for mode in MODES:
        variables = {"WANDB_MODE": mode, "WANDB_TAGS": "a,b", "WANDB_PROJECT": ""}
        assert not [*faults(options, variables)]
        _ask_wandb(options, variables)


def _ask_wandb(options: dict[str, Any], variables: dict[str, str]) -> None:
    names = {"tags": "run_tags"}
    settings = wandb.Settings(**{names.get(key, key): it for key, it in options.items()})
    settings.update_from_env_vars(variables)


def test_answers_after_30_s_do_not_delay_a_run(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run has ended, and has given up to wait for its tracker, before the first answer."""
    server.delay = LATE
    file, run, begun = tmp_path / "run.toml", tmp_path / "late", time.monotonic()
    file.write_text(tomli_w.dumps(SMALL))
    words = ["--config", str(file), "--out", str(tmp_path), "--name", "late", "--quiet"]
    words += ["--track", "wandb", "--set", "track.wandb.patience=1"]
    assert main(["run", *words]) == 0
    assert time.monotonic() - begun < LATE
    said = capsys.readouterr().err.splitlines()
    (warning,) = [line for line in said if line.startswith("WARNING")]
    assert warning.startswith("WARNING: track wandb stopped: it did not end within 1 s.")
    (place,) = offline(run)
    assert said[-1] == f"note: track wandb: to upload it later: wandb sync {place}"
    assert [line_of(each) for each in read(place).history[:-1]] == metrics(run)
    bnnlab.run(SMALL, out=tmp_path, name="plain")
    assert without_times(run) == without_times(tmp_path / "plain")


def test_an_offline_run_that_goes_on_is_whole_or_what_was_not_uploaded(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_folder(tmp_path)
    with caplog.at_level(NOTE, "bnnlab.tracking"):
        for begin in range(3):
            run = watch(folder, mode="offline", resumed=begin > 0)
            save(run, folder, begin, begin + 1)
            run.end("interrupted")
            if begin == 0:
                continue
            words = caplog.records[-1].getMessage().partition("later: ")[2].split()
            upload(tmp_path, *words)
            assert [line_of(each) for each in server.runs[RUN].lines] == metrics(folder)
    assert [len(read(place).history) for place in sorted(offline(folder))] == [2, 1]


def test_with_nothing_new_nothing_is_written_and_another_project_gets_all(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    bnnlab.run(SMALL, out=tmp_path, name="run", track={"wandb": {"mode": "offline"}})
    folder = tmp_path / "run"
    (place,) = offline(folder)
    upload(tmp_path, "wandb", "sync", str(place))
    caplog.clear()  # of what the run said
    with caplog.at_level(NOTE, "bnnlab.tracking"):
        for project in ("bnnlab", "bnnlab", "other"):
            watch_again(folder, project)
    lines = len(metrics(folder))
    said = [each.getMessage().partition(" sync ")[0] for each in caplog.records]
    assert said[:2] == [f"track wandb: all {lines} lines are delivered"] * 2
    assert said[-1].startswith("track wandb: to upload it later: ")
    (other,) = {*offline(folder)} - {place}
    assert (read(other).run.project, len(read(other).history)) == ("other", lines + 1)


def watch_again(folder: Path, project: str) -> None:
    """Resume a run that is complete."""
    run_id = json.loads((folder / "result.json").read_text())["run_id"]
    its = {"bnnlab-wandb/wandb": {"mode": "offline", "project": project}}
    Watched(folder, its, run_id, {"epochs": 1}, resumed=True).end("complete")


@pytest.mark.slow
class TestOnline(TrackerContract):
    name = "bnnlab-wandb/wandb"
    options = {"mode": "online"}

    @pytest.fixture(autouse=True)
    def at(self, server: Server) -> None:
        self.server = server

    def read(self, folder: Path) -> list[Any]:
        return [line_of(each) for each in self.server.runs[RUN].lines if "event" in each]
