"""Trackers that are well or ill: training goes on, and each line is delivered once, in order."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from small_runs import SMALL, found, metrics, without_times

import bnnlab
from bnnlab.cli import main
from bnnlab.errors import NOTE, UsageError
from bnnlab.storage.checkpoint import CHECKPOINT
from bnnlab.storage.folder import METRICS, RESULT
from bnnlab.storage.rows import packed
from bnnlab_testing import TrackerContract, harm_checks
from bnnlab_testing.pytest_plugin import MakePlugin
from bnnlab_testing.tracker_contract import MARK, left_behind
from bnnlab_tracking import child, printed
from bnnlab_tracking.delivery import Delivery
from bnnlab_tracking.watched import Watched

ILL = {
    "make": "raises",
    "start": "raises",
    "log": "raises",
    "finish": "raises",
    "exit": "exits",
    "print": "prints",
    "hang": "hangs",
    "speak": "speaks",
    "say": "says",
    "mute": "mutes",
}
"""What each ill tracker does. It does it in the method that it is called like, else in `log`."""
WELL = {"print", "speak"}
"""Those that deliver all the same."""
PLUGIN = f"""
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

def tracker(name, made, **preset):
    return Component(Kind.TRACKER, name, f"acme_tracking:{{made}}", "It.", "none", preset=preset)

@hookimpl
def bnnlab_components():
    ill = [tracker(where, "Ill", what=what, where=where) for where, what in {ILL}.items()]
    kept = tracker("kept", "Kept", what="raises", where="log")
    well = [tracker("text", "Text"), tracker("rows", "Text"), tracker("forgets", "Forgets")]
    well.append(tracker("told", "Told"))
    odd = ("Prints", "Reads", "Command", "Ahead", "Empties", "Picky", "Rambles", "Drops")
    well += [tracker(name.lower(), name) for name in odd]
    rude = [tracker(what, "Ill", what=what, where="log") for what in ("leaves", "spoils", "floods")]
    return [*well, kept, *ill, *rude]
"""
TWIN = """
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

@hookimpl
def bnnlab_components():
    return [Component(Kind.TRACKER, "told", "acme_tracking:Told", "It.", "none")]
"""
SHORT, LARGE = {"epochs": 1}, {"tasks": ["a task with a name"] * 10_000}
"""Protocols; a pipe does not hold the large one."""
TRACKERS = '''
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from bnnlab import UsageError

from bnnlab_tracking.tracker import Tracker

class Text(Tracker):
    """Writes lines into a file of the run's folder, which alone says what is there.

    Args:
        file: Its name.
        **options: Of every tracker.
    """
    def __init__(self, file: str = "lines", **options):
        super().__init__(**options)
        self._name = file
    def start(self, run):
        assert "torch" not in sys.modules
        self._file, self._run = run.folder / self._name, run
        self._file.touch()
        return len(self._file.read_text().splitlines())
    def log(self, index, line):
        with self._file.open("a") as file:
            file.write(json.dumps([index, line]) + "\\n")
    def finish(self, status, result):
        run = self._run
        about = [status, result and result["status"], run.name, run.group, run.resumed]
        about += [run.protocol_hash, run.environment["bnnlab"], run.settings["seed"]]
        self._file.with_suffix(".end").write_text(json.dumps(about))

class Forgets(Text):
    def start(self, run):
        super().start(run)
        return 0

class Told(Text):
    def start(self, run):
        super().start(run)

class Ill(Text):
    def __init__(self, what: str = "", where: str = "", **options):
        super().__init__(file=where, **options)
        self._what = what
        self._where = where if hasattr(self, where) or where == "make" else "log"
        self._act("make")
    def _act(self, where):
        if where != self._where:
            return
        print("from the tracker")
        if self._what == "mutes":
            sys.stderr.close()
        if self._what in ("raises", "mutes"):
            raise OSError(28, "No space left on device")
        if self._what == "exits":
            os._exit(3)
        if self._what == "leaves":
            subprocess.Popen(["sleep", "600"], start_new_session=True)
        if self._what == "spoils":
            (self._run.folder / "metrics.jsonl").write_text("")
        for _ in range(300 if self._what == "floods" else 0):
            print("x" * 10_000, flush=True)
        for pipe in range(3, 9) if self._what == "speaks" else ():
            with suppress(OSError):
                os.write(pipe, b"[]\\n?\\xff\\n")
        while self._what == "hangs":
            time.sleep(0.1)
    def start(self, run):
        self._act("start")
        return -1 if self._what == "says" else super().start(run)
    def log(self, index, line):
        self._act("log")
        super().log(index, line)
    def finish(self, status, result):
        self._act("finish")
        super().finish(status, result)

class Reads(Text):
    def start(self, run):
        subprocess.run(["cat"], check=True, timeout=30)
        return super().start(run)

class Prints(Text):
    def __init__(self, how: str = "runs", **options):
        super().__init__(file="prints", **options)
        self._how = how
    def start(self, run):
        if self._how == "says much":
            raise UsageError("m" * 20_000_000)
        subprocess.Popen(["sh", "-c", "while :; do echo zzzzzzzzzzzzzzzzzzzzzzzzzz; done"])
        if self._how == "fails":
            raise ValueError("bad")
        if self._how in ("dies", "sleeps"):
            os.kill(os.getpid(), signal.SIGKILL if self._how == "dies" else signal.SIGSTOP)
        return super().start(run)

class Picky(Text):
    @classmethod
    def check(cls, options):
        if options["file"] == "bad":
            raise UsageError("track.picky.file: 'bad' is taken.")
        if options["file"] == "odd":
            raise TypeError("odd")

class Drops(Text):
    def log(self, index, line):
        if index != 1:
            super().log(index, line)

class Rambles(Text):
    def start(self, run):
        raise ValueError("1 fault\\n  mode\\n    is wrong")

class Empties(Text):
    def start(self, run):
        (run.folder / "metrics.jsonl").write_text("")
        return super().start(run)

class Command(Text):
    def later(self):
        return 3

class Ahead(Text):
    def start(self, run):
        super().start(run)
        return 10**9

class Kept(Ill):
    def offline(self, run):
        return Later(file="later")

class Later(Text):
    def later(self):
        return f"upload {self._file.name}"
'''


@pytest.fixture(autouse=True)
def trackers(make_plugin: MakePlugin) -> None:
    make_plugin("acme-trackers", PLUGIN, modules={"acme_tracking": TRACKERS})


def make_folder(*parts: Path | str) -> Path:
    """Make the folder of a run that has not logged a line."""
    folder = Path(*parts)
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text("seed = 0\n")
    (folder / "environment.json").write_text('{"bnnlab": "0.1.0"}')
    return folder


def watch(
    folder: Path, protocol: Any = SHORT, *, resumed: bool = False, **trackers: Any
) -> Watched:
    named = {f"acme-trackers/{name}": options for name, options in trackers.items()}
    return Watched(folder, named, "0123456789abcdef", protocol, resumed=resumed)


def write(folder: Path, begin: int, end: int) -> None:
    with (folder / METRICS).open("a") as file:
        file.writelines(json.dumps({"event": "epoch", "loss": n}) + "\n" for n in range(begin, end))


def save(run: Watched, folder: Path, end: int, begin: int = 0) -> None:
    """Log lines, and save a checkpoint after each."""
    for number in range(begin, end):
        write(folder, number, number + 1)
        run.count()
        run.saved(folder / CHECKPOINT)


def delivered(file: Path) -> list[dict[str, Any]]:
    """Return the lines that a tracker wrote, which it counted."""
    every = [json.loads(line) for line in file.read_text().splitlines()]
    assert [index for index, _ in every] == [*range(len(every))]
    return [line for _, line in every]


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def stop_the_wait(patch: pytest.MonkeyPatch, number: int, again: bool = False) -> None:
    """Send this process a signal while it waits for a tracker that has started (again)."""
    wait = Delivery.wait

    def stopped(delivery: Delivery, until: float) -> bool:
        if ("how" in delivery.job) is again:
            wait_for(Path(delivery.job["folder"], delivery.label).exists)
            signal.raise_signal(number)
        return wait(delivery, until)

    patch.setattr(Delivery, "wait", stopped)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def noted(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == NOTE]


def test_every_line_is_delivered_and_the_run_is_as_without(tmp_path: Path) -> None:
    plain = bnnlab.run(SMALL, out=tmp_path, name="plain")
    own = bnnlab.run(SMALL, out=tmp_path, name="own", track={"text": {}, "rows": {"file": "rows"}})
    assert found(own) == found(plain)
    assert without_times(tmp_path / "own") == without_times(tmp_path / "plain")
    for name in ("lines", "rows"):
        assert delivered(tmp_path / "own" / name) == metrics(tmp_path / "own")
        end = json.loads((tmp_path / "own" / f"{name}.end").read_text())
        assert end[:5] == ["complete", "complete", "own", "", False]
        assert end[5:] == [own.protocol, bnnlab.__version__, 0]


@pytest.mark.slow
def test_ill_trackers_are_named_once_each_and_leave_no_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path, "run")
    monkeypatch.setenv(MARK, str(tmp_path))
    with caplog.at_level(logging.INFO, "bnnlab"):
        run = watch(folder, **{name: {"patience": 1.0 if name == "hang" else 60.0} for name in ILL})
        save(run, folder, 3)
        run.end("complete")
    assert not left_behind(str(tmp_path))
    said = {name: [each for each in warned(caplog) if f"track {name} " in each] for name in ILL}
    assert {name for name, its in said.items() if len(its) == 1} == ILL.keys() - WELL
    for name in ("make", "start", "log", "finish", "mute"):
        assert "stopped: OSError: [Errno 28] No space left on device" in said[name][0]
    assert "its process ended with code 3" in said["exit"][0]
    assert "it did not end within 1 s" in said["hang"][0]
    assert "start returned -1, which is no number of lines" in said["say"][0]
    assert f"track hang: to deliver what is missing: bnn run --resume {folder}" in noted(caplog)
    for name in WELL:
        assert delivered(folder / name) == metrics(folder)
    assert "from the tracker" in (folder / "track/acme-trackers/print.log").read_text()


def test_what_a_tracker_could_not_deliver_is_written_for_a_later_upload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_folder(tmp_path, "run")
    with caplog.at_level(logging.INFO, "bnnlab"):
        run = watch(folder, kept={})
        save(run, folder, 3)
        run.end("complete")
    assert len(warned(caplog)) == 1
    assert "track kept: to upload it later: upload later" in noted(caplog)
    assert delivered(folder / "later") == metrics(folder)


@pytest.mark.slow  # a process that imports torch
def test_a_script_is_shown_what_is_left_to_do(tmp_path: Path) -> None:
    its = {"out": str(tmp_path), "track": "kept", **SMALL}
    script = f"import sys; sys.path = {sys.path}; import bnnlab; bnnlab.run(**{its})"
    words = [sys.executable, "-c", script]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert said.stderr.splitlines()[-1] == "track kept: to upload it later: upload later"
    assert said.stdout == ""


def test_a_run_whose_process_died_is_marked_and_goes_on_where_its_checkpoint_was(
    tmp_path: Path,
) -> None:
    folder = make_folder(tmp_path, "study", "cell", "seed-0")
    (tmp_path / "study" / "study.toml").touch()
    run = watch(folder, text={})
    save(run, folder, 2)
    write(folder, 2, 3)  # this line is in no checkpoint
    (delivery,) = run.deliveries
    process = delivery.process
    assert process
    assert process.stdin
    process.stdin.close()  # as the system does if this process is killed
    process.wait(60)
    delivery.close()
    assert delivered(folder / "lines") == metrics(folder)[:2]
    end = json.loads((folder / "lines.end").read_text())
    assert end[:5] == ["crashed", None, "cell/seed-0", "study", False]
    (folder / METRICS).unlink()
    write(folder, 0, 2)
    run = watch(folder, resumed=True, text={})
    save(run, folder, 4, begin=2)
    run.end("complete")
    assert delivered(folder / "lines") == metrics(folder)
    assert len(metrics(folder)) == 4


def test_nothing_waits_for_a_tracker_that_does_not_listen(tmp_path: Path) -> None:
    """More words are said than its pipe holds."""
    folder = make_folder(tmp_path, "run")
    run = watch(folder, hang={"patience": 0.1})
    (delivery,) = run.deliveries
    assert delivery.process
    os.kill(delivery.process.pid, signal.SIGSTOP)
    for _ in range(20_000):
        run.count()
        run.saved(CHECKPOINT)
    run.end("interrupted")
    assert delivery.process is None


def test_nothing_waits_for_a_process_that_does_not_read_its_large_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asleep, begun = make_folder(tmp_path, "run"), tmp_path / "asleep", time.monotonic()
    asleep.write_text("#!/bin/sh\nexec sleep 60\n")
    asleep.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(asleep))
    watch(folder, LARGE, text={"patience": 0.1}).end("interrupted")
    assert time.monotonic() - begun < 30


def test_a_large_job_arrives(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "run")
    run = watch(folder, LARGE, text={})
    save(run, folder, 1)
    run.end("complete")
    assert delivered(folder / "lines") == metrics(folder)


def test_what_a_tracker_prints_without_end_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "run")
    run = watch(folder, floods={})
    save(run, folder, 1)
    run.end("complete")
    assert delivered(folder / "log") == metrics(folder)
    log = (folder / "track/acme-trackers/floods.log").read_bytes()
    assert len(log) <= printed.MOST
    assert log.startswith(b"from the tracker\nxxx")
    assert log.endswith(b"xxx\n")
    assert log.count(printed.CUT) == 1


def test_a_log_is_cut_as_often_as_it_is_too_long(tmp_path: Path) -> None:
    log, about = tmp_path / "log", printed.KEPT
    printed.append(log, b"a" * printed.MOST)
    assert log.stat().st_size == printed.MOST
    for letter in (b"b", b"c"):
        printed.append(log, letter * printed.MOST)
        assert log.read_bytes() == b"a" * about + printed.CUT + letter * about


@pytest.mark.parametrize("end", ["dies", "sleeps", "fails", "runs"])
@pytest.mark.slow
def test_what_a_tracker_started_neither_fills_the_disk_nor_outlives_it(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path, "run")
    monkeypatch.setenv(MARK, str(tmp_path))
    run = watch(folder, prints={"how": end, "patience": 0.1})
    log = folder / "track/acme-trackers/prints.log"
    if end in ("dies", "fails"):
        (delivery,) = run.deliveries
        assert delivery.process
        delivery.process.wait(60)
        assert not left_behind(str(tmp_path))
    else:
        wait_for(lambda: printed.CUT in log.read_bytes())
        largest = max(log.stat().st_size for _ in range(100) if not time.sleep(0.002))
        assert largest <= printed.MOST + printed.PIECE
    run.end("interrupted")
    assert not left_behind(str(tmp_path))


def test_what_a_tracker_started_ends_if_the_training_process_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path, "run")
    monkeypatch.setenv(MARK, str(tmp_path))
    run = watch(folder, prints={"how": "runs"})
    save(run, folder, 1)
    (delivery,) = run.deliveries
    assert delivery.process
    assert delivery.process.stdin
    delivery.process.stdin.close()
    delivery.process.wait(60)
    assert not left_behind(str(tmp_path))
    assert delivered(folder / "prints") == metrics(folder)
    delivery.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prints", "stopped: mmmm"),
        ("command", "later returned 3, which is no command"),
        ("ahead", "start returned 1000000000, and the run has 2 lines"),
        ("empties", "it delivered 0 lines of 2"),
        ("rambles", "stopped: ValueError: 1 fault mode is wrong. The run"),
    ],
)
@pytest.mark.slow
def test_a_tracker_that_says_what_is_not_so_is_named(
    name: str, message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_folder(tmp_path, "run")
    options = {"how": "says much"} if name == "prints" else {}
    with caplog.at_level(logging.INFO, "bnnlab"):
        run, begun = watch(folder, **{name: options}), time.monotonic()
        save(run, folder, 2)
        run.end("complete")
    assert time.monotonic() - begun < 30
    (said,) = warned(caplog)
    assert re.search(message, said)
    assert len(said) < 1000
    assert not any("delivered all" in each or "are delivered" in each for each in noted(caplog))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("bad", "track.picky.file: 'bad' is taken."),
        ("odd", "acme-trackers/picky cannot be checked: TypeError: odd"),
    ],
)
def test_what_a_tracker_cannot_do_is_refused_before_the_run(
    file: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        bnnlab.run(SMALL, out=tmp_path / "runs", track={"picky": {"file": file}})
    assert not (tmp_path / "runs").exists()


def test_trackers_are_refused_where_there_are_no_process_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "killpg")
    with pytest.raises(UsageError, match="track: trackers need process groups"):
        bnnlab.run(SMALL, out=tmp_path / "runs", track="text")
    assert not (tmp_path / "runs").exists()


def test_a_stopped_tracker_ends_after_the_training_process(tmp_path: Path) -> None:
    about = f"Path({str(tmp_path / 'log')!r}), told=0, limit=0.2"
    script = (
        f"import os, signal, sys; from pathlib import Path; sys.path = {sys.path}; "
        f"from bnnlab_tracking import printed; printed.begin({about}); "
        "os.kill(os.getpid(), signal.SIGSTOP)"
    )
    words = [sys.executable, "-c", script]
    tracker = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
    os.waitpid(tracker.pid, os.WUNTRACED)
    time.sleep(0.4)
    assert tracker.poll() is None
    assert tracker.stdin
    tracker.stdin.close()  # as when the training process is killed
    assert tracker.wait(60) == -signal.SIGKILL


def test_what_a_tracker_starts_reads_an_empty_standard_input(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "run")
    run = watch(folder, reads={})
    save(run, folder, 2)
    run.end("complete")
    assert delivered(folder / "lines") == metrics(folder)


@pytest.mark.slow
def test_a_tracker_has_its_own_count_beside_another_one_of_its_name(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    make_plugin("acme-twin", TWIN)
    folder = make_folder(tmp_path, "run")
    run = watch(folder, told={})
    save(run, folder, 2)
    run.end("interrupted")
    both = {"acme-trackers/told": {}, "acme-twin/told": {"file": "twin"}}
    run = Watched(folder, both, "0123456789abcdef", {}, resumed=True)
    save(run, folder, 4, begin=2)
    run.end("complete")
    for name in ("lines", "twin"):
        assert delivered(folder / name) == metrics(folder)


@pytest.mark.usefixtures("heard")
def test_ctrl_c_at_the_end_leaves_the_tracker_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path, "run")
    monkeypatch.setenv(MARK, str(tmp_path))
    with caplog.at_level(logging.INFO, "bnnlab"):
        run = watch(folder, hang={})
        save(run, folder, 1)
        stop_the_wait(monkeypatch, signal.SIGINT)
        run.end("complete")
    assert not warned(caplog)
    assert not left_behind(str(tmp_path))
    assert "track hang: to deliver what is missing: bnn run --resume" in noted(caplog)[-1]


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.slow
def test_another_signal_at_the_end_leaves_the_tracker_shows_the_result_and_ends_the_process(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MARK, str(tmp_path))
    number, file = signal.Signals[name], tmp_path / "run.toml"
    file.write_text(tomli_w.dumps(SMALL))
    words = ["--config", str(file), "--out", str(tmp_path), "--name", "run", "--track", "hang"]
    stop_the_wait(monkeypatch, number)
    assert main(["run", *words, "--quiet"]) == 128 + number
    said = capsys.readouterr()
    assert "forgetting" in said.out
    assert "track hang: to deliver what is missing: bnn run --resume" in said.err
    assert f"stopped by {name}; the run is complete" in said.err
    assert json.loads((tmp_path / "run" / RESULT).read_text())["status"] == "complete"
    assert not left_behind(str(tmp_path))


def test_what_is_shown_elsewhere_from_now_on_is_shown_from_its_first_line(tmp_path: Path) -> None:
    """This tracker leaves it to bnnlab to know how many lines are delivered."""
    folder = make_folder(tmp_path, "run")
    for end, its in enumerate([{}, {"patience": 50.0}, {"file": "other"}, {"file": "other"}], 1):
        run = watch(folder, resumed=end > 1, told=its)
        save(run, folder, end, begin=end - 1)
        run.end("stopped")
    assert delivered(folder / "lines") == metrics(folder)[:2]
    assert delivered(folder / "other") == metrics(folder)


@pytest.mark.usefixtures("heard")
def test_ctrl_c_while_it_is_tried_again_ends_that_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path, "run")
    run = watch(folder, hang={})
    save(run, folder, 1)
    (delivery,) = run.deliveries
    assert delivery.process
    os.killpg(delivery.process.pid, signal.SIGKILL)
    monkeypatch.setenv(MARK, str(tmp_path))
    stop_the_wait(monkeypatch, signal.SIGINT, again=True)
    run.end("complete")
    assert not left_behind(str(tmp_path))


def test_a_module_in_the_working_directory_hides_none_of_a_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise ImportError\n")
    monkeypatch.chdir(tmp_path)
    folder = make_folder(tmp_path, "run")
    run = watch(folder, text={})
    save(run, folder, 1)
    run.end("complete")
    assert delivered(folder / "lines") == metrics(folder)


@pytest.mark.parametrize("fault", ["file", "python"])
def test_a_tracker_whose_process_cannot_begin_is_named(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path, "run")
    if fault == "file":
        (folder / "track").touch()
    else:
        monkeypatch.setattr("sys.executable", str(tmp_path / "none"))
    with caplog.at_level(NOTE, "bnnlab"):
        run = watch(folder, text={})
        save(run, folder, 1)
        run.end("complete")
    (said,) = warned(caplog)
    assert "track text stopped: it cannot begin: [Errno" in said


class TestText(TrackerContract):
    name = "acme-trackers/text"

    def read(self, folder: Path) -> list[Any]:
        return delivered(folder / "lines")


class OfLeaves(TestText):
    __test__ = False
    name = "acme-trackers/leaves"


class OfSpoils(OfLeaves):
    name = "acme-trackers/spoils"

    def read(self, folder: Path) -> list[Any]:
        return metrics(folder)


@pytest.mark.slow
def test_the_contract_finds_processes_and_files_of_a_rude_tracker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/proc/self/environ").exists():
        (tmp_path / "leaves").mkdir()
        with pytest.raises(AssertionError, match="end in `finish` what you started: sleep 600"):
            OfLeaves().test_it_leaves_no_process_behind(tmp_path / "leaves", monkeypatch)
    with pytest.raises(AssertionError, match=r"it changed metrics\.jsonl: write other files"):
        OfSpoils().test_each_line_arrives_once_and_in_order(tmp_path, caplog)


class OfForgets(TrackerContract):
    name = "acme-trackers/forgets"

    def read(self, folder: Path) -> list[Any]:
        return [line for _, line in map(json.loads, (folder / "lines").read_text().splitlines())]


class OfDrops(OfForgets):
    name = "acme-trackers/drops"


def test_the_contract_finds_lines_that_are_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AssertionError, match="there are 4 lines of 5"):
        OfDrops().test_each_line_arrives_once_and_in_order(tmp_path, caplog)


class OfLarge(TestText):
    __test__ = False
    name = "acme-large/large"


ASKS = """
import socket
from acme_tracking import Text as Base

class Text(Base):
    @classmethod
    def check(cls, options):
        with socket.create_connection(("track.acme.invalid", 443)) as server:
            server.recv(1)
"""


@pytest.mark.parametrize(
    ("code", "check", "message"),
    [
        (
            "import sys\n\nsys.modules.update({f'acme_client_{n}': sys for n in range(400)})",
            "test_its_module_imports_little",
            r"imports 4\d\d modules: import the large ones in start",
        ),
        (
            "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)",
            "test_its_module_changes_nothing",
            "changes the handler of SIGTERM: do it in start",
        ),
        (
            "import atexit\natexit.register(len, ())",
            "test_its_module_changes_nothing",
            "changes what is called at exit",
        ),
        (
            "import threading\nthreading.Timer(1, len, [()]).start()",
            "test_its_module_changes_nothing",
            "changes threads",
        ),
        (ASKS, "test_a_run_does_not_wait_for_its_server", "it waits for a server, for more than"),
    ],
    ids=["large", "signal", "exit", "thread", "server"],
)
@pytest.mark.slow
def test_the_contract_finds_what_harms_the_training_process(
    make_plugin: MakePlugin,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    check: str,
    message: str,
) -> None:
    monkeypatch.setattr(harm_checks, "ANSWER", 0.3)
    plugin = TWIN.replace('"told", "acme_tracking:Told"', '"large", "acme_large_tracker:Text"')
    tracker = f"from acme_tracking import Text\n{code}\n"
    make_plugin("acme-large", plugin, modules={"acme_large_tracker": tracker})
    with pytest.raises((AssertionError, pytest.fail.Exception), match=message):
        getattr(OfLarge(), check)()


@pytest.mark.slow
def test_the_contract_finds_lines_that_are_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="there are 8 lines of 5"):
        OfForgets().test_a_killed_run_goes_on_without_a_gap("the run", tmp_path, monkeypatch)


def test_a_tracker_is_told_rows_as_lists_however_files_hold_them(tmp_path: Path) -> None:
    row = [None, None, 0.5, None]
    said = {"event": "evaluation", "task": 2, "accuracy": row}
    (tmp_path / METRICS).write_text(json.dumps({**said, "accuracy": packed(row)}) + "\n")
    (tmp_path / RESULT).write_text(json.dumps({"accuracy": [packed(row)]}))
    assert next(child._lines(tmp_path / METRICS, 0)) == said
    assert child._read(tmp_path / RESULT) == {"accuracy": [row]}
