"""The process of a tracker: follows the run's folder until the run ends. No torch is imported.

The job is in the file whose descriptor is the argument. The lines of standard input are words:
`saved`, the lines of metrics.jsonl that are in a checkpoint, and `ended`, the status of the run. If
standard input ends before, the training process died. Standard output takes what `Delivery.look`
reads. A tracker gets neither: its standard input is empty, and what it prints goes to a file.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from operator import index
from pathlib import Path
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import choose
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import CONFIG, METRICS, RESULT
from bnnlab.storage.rows import unpacked
from bnnlab_tracking import printed
from bnnlab_tracking.ear import Ear
from bnnlab_tracking.tracker import ENDED, Tracked, Tracker, count_lines, own_file

Job = Mapping[str, Any]
Tell = Callable[..., None]

STUDY = "study.toml"
"""What marks the folder of a study, in which runs lie as CELL/RUN."""
NICE = 10
"""How much training comes first."""
GRACE = 10.0
"""Seconds beyond the patience until this process is ended, once the training process has ended."""
LONGEST = 1000
"""Characters that a command may have."""
SHOWN = 300
"""Characters of an error that are told."""


def main() -> None:
    """Do the job, and end this process whatever else is running in it."""
    heard, said = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def tell(**word: Any) -> None:
        with suppress(BrokenPipeError):
            os.write(said, json.dumps(word).encode() + b"\n")

    code = 1
    try:
        os.nice(NICE)
        with os.fdopen(int(sys.argv[1]), encoding="utf-8") as given:
            job = json.load(given)
        log = own_file(job["folder"], job["name"], "log")
        printed.begin(log, heard, job["patience"] + GRACE)
        _work(job, heard, tell)
        code = 0
    except BaseException as error:
        tell(failed=_in_one_line(error))
        traceback.print_exc()  # this fails on a full disk, or if the tracker closed its output
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # nothing that a tracker left behind keeps it, or outlives it


def _in_one_line(error: BaseException) -> str:
    """Return what an error says; of a pydantic `ValidationError` the first line says little."""
    is_told = isinstance(error, UsageError)
    said = str(error) if is_told else "".join(traceback.format_exception_only(error))
    return " ".join(said.split())[:SHOWN]


def _work(job: Job, heard: int, tell: Tell) -> None:
    tracker = make(job["name"], job["options"])
    tell(has_offline=type(tracker).offline is not Tracker.offline)
    late = job.get("how") == "late"
    ear = Ear(heard, job["saved"], job.get("status"))
    ledger = own_file(job["folder"], job["name"], "json")
    with _alone(ledger.with_suffix(".lock"), tracker.patience + 2 * GRACE):
        where = json.loads(json.dumps(tracker.destination() or _destination(job["options"])))
        noted = _read(ledger) or {}
        if noted.get("where", where) != where:
            noted = {}  # all of it is missing there
        run = describe(job, noted)

        def note(lines: int, *, is_ended: bool = False) -> None:
            if not late:
                _write(ledger, {"lines": lines, "is_ended": is_ended, "where": where})

        if late:
            other = tracker.offline(run)
            if other is None:
                tell(done=True)
                return
            tracker = other
        count = _deliver(tracker, run, ear, note)
    tell(done=True, lines=count, later=_command(tracker.later()))


def make(name: str, options: Mapping[str, Any]) -> Tracker:
    """Make a tracker; `checking.check` has found that it is one."""
    host = PluginHost()
    choice = choose(host, Kind.TRACKER, name, options)
    made: Tracker = host.load(choice.plugin, choice.component)(**choice.keywords)
    return made


def _destination(options: Mapping[str, Any]) -> Any:
    """Return the options that may say where a tracker shows runs."""
    return {name: value for name, value in options.items() if name != "patience"}


def describe(job: Job, noted: Mapping[str, Any]) -> Tracked:
    """Return what a tracker is told of a run, of which this was noted."""
    folder = Path(job["folder"])
    study = next((each for each in folder.parents[:2] if (each / STUDY).is_file()), None)
    return Tracked(
        folder=folder,
        run_id=job["run_id"],
        name=str(folder.relative_to(study)) if study else folder.name,
        group=study.name if study else "",
        settings=read_config(folder / CONFIG),
        protocol=job["protocol"],
        protocol_hash=job["protocol_hash"],
        resumed=job["resumed"],
        delivered=noted.get("lines"),
        is_ended=noted.get("is_ended", False),
    )


def _deliver(tracker: Tracker, run: Tracked, ear: Ear, note: Callable[..., None]) -> int:
    """Deliver the lines as they come, and the end; return how many there are."""
    there = count = _there(tracker.start(run), run)
    note(count, is_ended=run.is_ended)
    lines = _lines(run.folder / METRICS, count)
    saved, status = count, None
    while status is None:
        saved, status = ear.wait(saved)
        while status in ENDED or count < saved:
            line = next(lines, None)
            if line is None:
                break
            tracker.log(count, line)
            count += 1
            note(count)
    if status in ENDED and (every := count_lines(run.folder / METRICS)) < there:
        raise UsageError(f"start returned {there!s:.20}, and the run has {every} lines")
    tracker.finish(status, _read(run.folder / RESULT))
    note(count, is_ended=status == "complete")
    return count


def _there(said: object, run: Tracked) -> int:
    """Return how many lines are there already, from what `start` returned."""
    if said is None:
        return run.delivered or 0
    if isinstance(said, bool) or not hasattr(said, "__index__") or index(said) < 0:
        raise UsageError(f"start returned {said!r}, which is no number of lines, and not None")
    return index(said)


def _command(said: object) -> str:
    """Return what `later` returned."""
    if not isinstance(said, str) or len(said) > LONGEST:
        raise UsageError(f"later returned {said!r:.60}, which is no command")
    return said


def _lines(file: Path, skipped: int) -> Iterator[Mapping[str, Any] | None]:
    """Yield the lines of metrics.jsonl after some, for ever; None while there is no whole one."""
    while not file.exists():
        yield None
    with file.open(encoding="utf-8") as opened:
        number = 0
        while True:
            place = opened.tell()
            text = opened.readline()
            if not text.endswith("\n"):
                opened.seek(place)
                yield None
                continue
            number += 1
            if number > skipped:
                yield json.loads(text, object_hook=unpacked)


def _read(file: Path) -> dict[str, Any] | None:
    """Return what a JSON file holds; None if it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
        found: dict[str, Any] = json.loads(text, object_hook=unpacked)
    except (OSError, ValueError):
        return None
    return found


def _write(ledger: Path, noted: Mapping[str, Any]) -> None:
    """Note how much is delivered, and where; the disk is not waited for, as checkpoints do."""
    part = ledger.with_suffix(".part")
    part.write_text(json.dumps(noted))
    part.replace(ledger)


@contextmanager
def _alone(lock: Path, seconds: float) -> Iterator[None]:
    """Wait until no other process delivers this run, such as that of a killed parent."""
    from filelock import FileLock

    with FileLock(lock, timeout=seconds):
        yield


if __name__ == "__main__":
    main()
