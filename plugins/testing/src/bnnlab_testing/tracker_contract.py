"""What a tracker owes: each line once, in order, however often the run was stopped."""

import json
import os
import signal
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnnlab.errors import NOTE
from bnnlab.registry.components import Kind
from bnnlab.storage.checkpoint import CHECKPOINT
from bnnlab.storage.folder import CONFIG, ENVIRONMENT, METRICS, RESULT
from bnnlab_testing.harm_checks import LONG, HarmChecks

SOON = 2.0
"""Seconds that processes have to end."""
PRINTED = 3000
"""Characters of what a tracker printed that a failure shows."""
MARK = "BNNLAB_TESTING_TRACKER"
"""A variable by which processes are found."""
RUN = "0123456789abcdef"
LINES: tuple[Mapping[str, Any], ...] = (
    {"event": "untrained", "accuracy": [0.1, None]},
    {"event": "epoch", "task": 0, "epoch": 0, "step": 5, "loss": 1.5, "train_accuracy": 0.5},
    {
        "event": "weights",
        "task": 0,
        "step": 5,
        "layers": [
            {
                "name": "segments.0.weight",
                "flips": 0.25,
                "latent": {"low": -1.0, "high": 1.0, "counts": [1, 2, 1]},
                "scale": [0.5, 0.75, 1.0, 1.25, 1.5],
            },
            {"name": "segments.1.weight", "flips": None, "latent": None, "scale": None},
        ],
    },
    {"event": "evaluation", "task": 0, "step": 5, "accuracy": [0.9, 0.2], "flips": 0.25},
    {"event": "x-odd", "deep": {"a": [1, {"b": None}]}, "text": "a\nb", "truth": True},
)
"""Lines of a run, but for `seconds` and `time`."""
_CONFIG = 'seed = 0\n\n[rule]\nname = "bp"\n'
_RESULT = {"status": "complete", "tasks": ["a", "b"], "accuracy": [[0.9, 0.2], [0.4, 0.8]]}


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="trackers need Linux or macOS")
class TrackerContract(HarmChecks):
    """Checks a tracker on a run of a few lines, each time in a process of its own.

    Choose `options` with which it needs no network.
    """

    kind = Kind.TRACKER

    @abstractmethod
    def read(self, folder: Path) -> list[Any]:
        """Return the lines that there are of the run in a folder, in the order of the service."""

    @property
    def base(self) -> type:
        """What a tracker derives from; it is in bnnlab-tracking, which every tracker needs."""
        found: type = import_module("bnnlab_tracking.tracker").Tracker
        return found

    def make(self, seed: int = 0) -> Any:  # noqa: ARG002
        """Make the tracker, which its own `check` does not refuse; it has no seed."""
        made = self.host.load(self.plugin, self.component)
        options = self.choice.keywords
        made.check(options)
        return made(**options)

    def exercise(self, seed: int = 0) -> list[Tensor]:  # noqa: ARG002
        """Make the tracker here; all else it does in processes of its own."""
        return [torch.tensor(self.make().patience)]

    def test_each_line_arrives_once_and_in_order(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """They are equal to those of metrics.jsonl, with nested values and None."""
        with caplog.at_level(NOTE, "bnnlab"):  # the command of a later upload is no failure
            run = self._begin(_folder(tmp_path))
            _log(run, tmp_path / "run", LINES)
            _end(run, tmp_path / "run")
        self._check(tmp_path / "run")
        printed = "".join(file.read_text() for file in (tmp_path / "run/track").rglob("*.log"))
        faults = [each.getMessage() for each in caplog.records if each.levelno > NOTE]
        assert not faults, f"it failed: {faults}\nIt printed:\n{printed[-PRINTED:]}"

    def test_it_leaves_no_process_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it starts ends with it, at the latest in `finish`; on Linux alone this is seen."""
        monkeypatch.setenv(MARK, str(tmp_path))  # processes that it starts inherit it
        run = self._begin(_folder(tmp_path))
        _log(run, tmp_path / "run", LINES)
        _end(run, tmp_path / "run")
        _check_alone(str(tmp_path))

    def test_a_complete_run_that_is_resumed_has_no_line_twice(self, tmp_path: Path) -> None:
        """Nothing is left to deliver, and the end may come once more."""
        folder = _folder(tmp_path)
        for resumed in (False, True):
            run = self._begin(folder, resumed=resumed)
            _log(run, folder, () if resumed else LINES)
            _end(run, folder)
        self._check(folder)

    @pytest.mark.parametrize("dies", ["the run", "the tracker, too"])
    def test_a_killed_run_goes_on_without_a_gap(
        self, dies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its process and that of the tracker may die at any time; lines are not lost or doubled.

        A line that was logged, and is in no checkpoint, is not delivered: it may come otherwise.
        Nothing is left of the processes.
        """
        folder = _folder(tmp_path)
        monkeypatch.setenv(MARK, str(tmp_path))
        run = self._begin(folder)
        _log(run, folder, LINES[:3])
        (delivery,) = run.deliveries
        if dies == "the run":
            delivery.process.stdin.close()
        else:
            os.killpg(delivery.process.pid, signal.SIGKILL)
        delivery.process.wait(LONG)
        _check_alone(str(tmp_path))
        delivery.close()
        run = self._begin(folder, resumed=True)
        _log(run, folder, LINES[3:])
        _end(run, folder)
        self._check(folder)

    def _begin(self, folder: Path, *, resumed: bool = False) -> Any:
        watched = import_module("bnnlab_tracking.watched").Watched
        its = {self.choice.name: {**self.choice.options, "patience": LONG}}
        told = {key: "none" if it is None else it for key, it in its[self.choice.name].items()}
        return watched(folder, {self.choice.name: told}, RUN, {"epochs": 1}, resumed=resumed)

    def _check(self, folder: Path) -> None:
        lines = [{**line, **_stamps(number)} for number, line in enumerate(LINES)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        for file, content in {METRICS: text, RESULT: json.dumps(_RESULT), CONFIG: _CONFIG}.items():
            assert (folder / file).read_text() == content, f"it changed {file}: write other files"
        found = self.read(folder)
        assert found == lines, f"there are {len(found)} lines of {len(lines)}: {found}"


def left_behind(mark: str) -> dict[int, str]:
    """Return the other processes whose variable `MARK` has a value; with /proc alone.

    Returns:
        Their command lines by their numbers. Those that are about to end are waited for.
    """
    until = time.monotonic() + SOON
    while (found := _marked(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _check_alone(mark: str) -> None:
    """Check that no process is left behind, and kill those that are."""
    left = left_behind(mark)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    assert not left, f"end in `finish` what you started: {', '.join(left.values())}"


def _marked(mark: str) -> dict[int, str]:
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is that of another user
            variables = (process / "environ").read_bytes().split(b"\0")
            if f"{MARK}={mark}".encode() in variables and process.name != str(os.getpid()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(process.name)] = command.decode(errors="replace").strip()
    return found


def _stamps(number: int) -> dict[str, float]:
    return {"seconds": 1.5 * number, "time": 1.7e9 + number}


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / CONFIG).write_text(_CONFIG)
    (folder / ENVIRONMENT).write_text('{"bnnlab": "0.1.0"}')
    return folder


def _log(run: Any, folder: Path, lines: Any) -> None:
    """Log lines, with a checkpoint after each."""
    for line in lines:
        with (folder / METRICS).open("a") as file:
            file.write(json.dumps({**line, **_stamps(LINES.index(line))}) + "\n")
        run.count()
        run.saved(folder / CHECKPOINT)


def _end(run: Any, folder: Path) -> None:
    (folder / RESULT).write_text(json.dumps(_RESULT))
    run.end("complete")
