"""Whatever stops a run or becomes of its folder: it goes on bit for bit, or is refused in words."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_runs
from small_runs import Crash, assert_same, left, left_torn, resume

import bnnlab
from bnnlab import Kind, PluginHost, RunError, Task, TaskStream, UsageError
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.preparing import prepare
from bnnlab.errors import DataError
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RunFolder

pytestmark = pytest.mark.usefixtures("heard")
STATE = Path("checkpoint") / "state.pt"
TINY: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 300,
    "stream": {"validation": 0.2},
    "model": {"hidden": [8]},
}
LEARNERS: dict[str, dict[str, Any]] = {
    "meta, augmented, told the tasks, and fresh models": {
        "rule": "dfa",
        "optimizer": "meta",
        "model": {"norm": "batch", "statistics": "per-task", "affine": True},
        "stream": {"task_ids": True, "augment": "cifar"},
        "evaluate_on": "validation",
        "uncertainty": True,
        "diagnose": True,
        "fresh": True,
        "probe": "confusion",
    },
    "bimu, with inputs of no task": {
        "rule": "bp",
        "optimizer": {"name": "bimu", "test_draws": 2},
        "probe": "confusion",
    },
}


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


def experiment(host: PluginHost, out: Path, *layers: dict[str, Any]) -> Experiment:
    return small_runs.experiment(host, out, TINY, *layers)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * ("fresh models" in n)) for n in LEARNERS],
)
def test_a_run_goes_on_from_every_checkpoint_bit_for_bit(
    name: str, host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It crashes after each of them: between steps, scored tasks, epochs, tasks, fresh models."""
    monkeypatch.setattr(
        "bnnlab.interfaces.examples.PIECE", 2 * 300 * 64
    )  # so that an epoch has two pieces
    monkeypatch.setattr(
        "bnnlab.engine.evaluation.HELD_EXAMPLES", 500
    )  # and an evaluation several groups
    settings = {**LEARNERS[name], "checkpoint_minutes": 0}
    whole = left(experiment(host, tmp_path / "whole", settings))
    torn, crashes = left_torn(host, experiment(host, tmp_path / "torn", settings), monkeypatch)
    steps = json.loads(torn[0].splitlines()[-1])["step"]
    assert steps + 3 < crashes, "after every step, and every scored task"
    assert_same(torn, whole)


# -------------------------------------------------------------------- signals


def kill_at(step: int, *numbers: int) -> Any:
    def stepped(task: int, epoch: int, now: int, steps: int) -> None:
        if (task, now) == (1, step):
            for number in numbers:
                signal.raise_signal(number)

    return stepped


@pytest.fixture(scope="module")
def whole(host: PluginHost, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return left(experiment(host, tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_lets_a_run_save_and_stop_after_its_step(
    name: str, host: PluginHost, tmp_path: Path, whole: Any
) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)
    run = experiment(host, tmp_path)
    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
        run.run(kill_at(2, number))
    if number == signal.SIGINT:
        assert caught.type is KeyboardInterrupt
    else:
        assert caught.value.code == 128 + number
    assert signal.getsignal(number) is before
    status = json.loads((tmp_path / "run" / "result.json").read_text())["status"]
    assert status == "interrupted"
    assert f"stopped by {name}" in (tmp_path / "run" / "log.txt").read_text()
    again = resume(host, tmp_path / "run")
    assert (again.learner.progress.task, again.learner.progress.step) == (1, 3)
    assert_same(left(again), whole)


def test_a_second_signal_stops_a_run_at_once(host: PluginHost, tmp_path: Path, whole: Any) -> None:
    run = experiment(host, tmp_path)
    with pytest.raises(SystemExit) as caught:
        run.run(kill_at(2, signal.SIGTERM, signal.SIGTERM))
    assert caught.value.code == 143
    again = resume(host, tmp_path / "run")
    assert (again.learner.progress.task, again.learner.progress.step) == (1, 0)
    assert_same(left(again), whole)


@pytest.mark.parametrize("kind", [RuntimeError, DataError])
def test_an_error_after_a_signal_is_that_signals(
    kind: type[Exception], host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker processes that were sent it, too, are not the run's failure."""
    run = experiment(host, tmp_path)

    def fail(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise kind("DataLoader worker is killed by signal: Terminated")

    monkeypatch.setattr(run.made.rule, "differentiate", fail)
    with pytest.raises(SystemExit) as caught:
        run.run()
    assert caught.value.code == 143


def test_a_signal_that_is_ignored_stays_so(host: PluginHost, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        run = experiment(host, tmp_path)
        assert run.run(kill_at(2, signal.SIGHUP)).status == "complete"
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_in_another_thread_leaves_signals_alone(host: PluginHost, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []
    run = experiment(host, tmp_path)
    with ThreadPoolExecutor(1) as thread:
        look = thread.submit(run.run, lambda *_: seen.append(signal.getsignal(signal.SIGTERM)))
        assert look.result().status == "complete"
    assert set(seen) == {before}


# -------------------------------------------------------------------- what becomes of a folder


def interrupt(task: int, epoch: int, step: int, steps: int) -> None:
    if (task, step) == (1, 2):
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def stopped(host: PluginHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped at once in its second task; not to be changed."""
    out = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        experiment(host, out).run(interrupt)
    return out / "run"


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(stopped, tmp_path / "run")


def flip(file: Path, place: float) -> None:
    """Change a bit of a file, at a place from 0 to 1."""
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.8, 0.99])
def test_from_a_damaged_checkpoint_a_run_goes_on_from_the_one_before_and_says_so(
    place: float, host: PluginHost, folder: Path, whole: Any, caplog: pytest.LogCaptureFixture
) -> None:
    flip(folder / STATE, place)
    with pytest.raises(UsageError, match=r"state\.pt is damaged"):
        bnnlab.load(folder)
    assert_same(left(resume(host, folder)), whole)
    for text in ("state.pt is damaged", "goes on from the checkpoint before it"):
        assert text in caplog.text
        assert text in (folder / "log.txt").read_text()


@pytest.mark.parametrize("text", ["", '{"event": "untr'])
def test_metrics_that_are_lost_are_written_anew(
    text: str, host: PluginHost, folder: Path, whole: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "metrics.jsonl").write_text(text)
    assert_same(left(resume(host, folder)), whole)
    assert "written anew from the checkpoint" in caplog.text


def test_what_a_killed_process_left_unfinished_is_swept_away(
    host: PluginHost, folder: Path
) -> None:
    for part in (folder / ".result.json.123.part", folder / "checkpoint" / ".state.pt.123.part"):
        part.write_bytes(b"half")
    resume(host, folder).run()
    assert not list(folder.rglob("*.part"))


def test_a_checkpoint_that_does_not_fit_is_refused(host: PluginHost, folder: Path) -> None:
    from bnnlab.storage.checkpoint import read, save

    state = read(folder / STATE)
    name = next(name for name in state["model"] if name.endswith("weight"))
    model = {**state["model"], name: state["model"][name] * 1.5}
    for changed, message in (
        ({"model": model}, f"{name} is binary and cannot be loaded"),
        ({"progress": {"task": 1}}, r"does not fit its run\.toml: progress"),
        ({"rule": {"x": 1}}, r"does not fit its run\.toml: rule"),
        ({"identity": {**state["identity"], "seed": 1}}, r"does not go with .* \(seed\)"),
    ):
        save(folder, {**state, **changed})
        with pytest.raises(UsageError, match=message):
            resume(host, folder)
    before = {name: it for name, it in state["identity"].items() if name != "tasks"}
    save(folder, {**state, "identity": before})  # of an earlier version
    resume(host, folder).folder.unlock()  # type: ignore[union-attr]


def test_a_stream_that_makes_other_tasks_in_every_process_is_refused(
    host: PluginHost, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take its order from a set, and its protocol knows nothing of it."""

    def turned(stream: TaskStream) -> Iterator[Task]:
        tasks = [stream[index] for index in range(len(stream))]
        return (replace(task, index=index) for index, task in enumerate(reversed(tasks)))

    def shuffled(stream: TaskStream) -> Iterator[Task]:
        tasks = [stream[index] for index in range(len(stream))]
        learned = replace(tasks[0].train, rows=tasks[0].train.rows.flip(0))
        yield from [replace(tasks[0], train=learned), *tasks[1:]]

    for order, message in (
        (turned, r"\(tasks; task 1\.name: permutation 1 against permutation 2\)"),
        (shuffled, r"\(tasks; task 1\.train: another content\)"),
    ):
        monkeypatch.setattr(TaskStream, "__iter__", order)
        with pytest.raises(UsageError, match=f"does not go with its checkpoint.*{message}"):
            resume(host, folder)


def test_other_versions_are_refused_or_told_in_the_result(
    host: PluginHost, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = resolve(host, [small_runs.SMALL]).choices[Kind.RULE].plugin
    installed = plugin.version
    monkeypatch.setattr("bnnlab.engine.protocol.version", lambda _: "9.9")
    object.__setattr__(plugin, "version", "2.0")  # a frozen record of what is installed
    try:
        with pytest.raises(UsageError, match=r"bnnlab .* is 9\.9 now, bnnlab-\w+ .* is 2\.0 now"):
            resume(host, folder)
        result = resume(host, folder, allow_changed_versions=True).run()
        first = result.changed_versions["bnnlab"][0]
        assert result.changed_versions["bnnlab"] == [first, "9.9"]
        assert result.changed_versions[plugin.distribution][-1] == "2.0"
        assert resume(host, folder).run().changed_versions == result.changed_versions
    finally:
        object.__setattr__(plugin, "version", installed)


def test_options_that_came_with_another_version_are_no_change_of_the_run(
    host: PluginHost, folder: Path, whole: Any
) -> None:
    from bnnlab.storage.checkpoint import read, save

    state = read(folder / STATE)
    del state["identity"]["compile"], state["identity"]["rule"]["scale"]
    save(folder, {**state, "versions": {**state["versions"], "bnnlab": ["0.0.1"]}})
    with pytest.raises(UsageError, match=r"begun with other versions: bnnlab 0\.0\.1 is"):
        resume(host, folder)
    metrics, found, weights = left(resume(host, folder, allow_changed_versions=True))
    assert "bnnlab" in found["changed_versions"]
    assert_same((metrics, {**found, "changed_versions": {}}, weights), whole)


def test_the_plugin_of_an_optimizer_inside_another_is_in_use(host: PluginHost) -> None:
    from bnnlab.engine.protocol import versions

    around = {"rule": "dfa", "optimizer": {"name": "ewc", "base": "adam"}, "out": "none"}
    config = resolve(host, [small_runs.SMALL, TINY, around])
    used = versions(host, config.choices.values(), prepare(host, config).made)
    assert {"torch", "bnnlab", "bnnlab-consolidation", "bnnlab-backprop"} <= used.keys()
    assert "bnnlab-bop" not in used


def test_a_run_is_one_processes(host: PluginHost, folder: Path) -> None:
    run = resume(host, folder)
    with pytest.raises(UsageError, match=f"is in use by process {os.getpid()}"):
        resume(host, folder)
    run.run()
    resume(host, folder)


def test_a_clock_that_is_set_back_takes_no_time(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6, 0, -100))
    run = experiment(host, tmp_path)
    monkeypatch.setattr("bnnlab.engine.experiment.time.perf_counter", lambda: float(next(clock)))
    assert run.run().seconds == 0


@pytest.mark.slow  # a process that imports torch
def test_a_run_that_is_killed_goes_on_bit_for_bit(host: PluginHost, tmp_path: Path) -> None:
    """By `kill -9`, as soon as it has saved within an epoch."""
    more = {"checkpoint_minutes": 0, "batch_size": 2, "stream": {"validation": 0.8}}
    whole = left(experiment(host, tmp_path / "whole", more))
    folder = tmp_path / "torn" / "run"
    words = ["run", "--config", "whole/run/run.toml", "--out", "torn", "--name", "run", "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "bnnlab.cli", *words], cwd=tmp_path)
    while process.poll() is None and not (folder / "checkpoint" / "previous.pt").exists():
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert_same(left(resume(host, folder)), whole)


@pytest.mark.slow
def test_neither_stops_nor_damage_at_random_moments_change_a_run() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "crashes.py"
    if not script.exists():
        pytest.skip("the benchmarks are in the repository alone")
    subprocess.run([sys.executable, script, "--short"], check=True)


# -------------------------------------------------------------------- the file system fails


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_said_in_one_line_with_the_way_to_go_on(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    run = experiment(host, tmp_path)
    assert run.folder
    (run.folder.path / "log.txt").symlink_to("/dev/full")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError) as caught:
        run.run()
    path = tmp_path / "run"
    assert str(caught.value) == (
        f"cannot write to {path}: No space left on device; to continue: bnn run --resume {path}"
    )
    assert "Logging error" not in capfd.readouterr().err


def test_a_folder_that_was_moved_under_its_run_is_said_to_have_gone(
    host: PluginHost, tmp_path: Path
) -> None:
    run = experiment(host, tmp_path)
    with pytest.raises(RunError, match=r"the run's folder .*run has gone"):
        run.run(lambda *_: shutil.rmtree(tmp_path / "run", ignore_errors=True))


def test_a_folder_that_cannot_be_written_is_not_resumed(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: int) -> None:
        raise Crash

    with pytest.raises(RunError, match="Crash"):
        experiment(host, tmp_path).run(stop)

    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system", str(tmp_path / "run" / ".a.part"))

    monkeypatch.setattr("bnnlab.storage.folder.write_atomically", read_only)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(UsageError, match=r"cannot write to .*run: Read-only file system"):
        prepare(host, resolve(host, [read_config(folder.path / "run.toml")]), folder)
