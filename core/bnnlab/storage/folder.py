"""The run's folder and its files. Small files are replaced as a whole; metrics grow by lines."""

import json
import logging
import os
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import tomli
import tomli_w

from bnnlab.errors import BnnlabError, RunError, UsageError, command, first_line
from bnnlab.storage import checkpoint
from bnnlab.storage.environment import environment
from bnnlab.storage.files import to_json, write_atomically
from bnnlab.storage.log import written
from bnnlab.storage.owner import LOCK, OWNER, this_process
from bnnlab.storage.rows import unpacked

log = logging.getLogger(__name__)

CONFIG = "run.toml"
METRICS = "metrics.jsonl"
LOG = "log.txt"
ENVIRONMENT = "environment.json"
RESULT = "result.json"
LONGEST = 255
"""Bytes of a folder's name on common file systems."""


def config_of(run: Path) -> Path:
    """Return the run.toml in a run's folder.

    Raises:
        UsageError: If there is none.
    """
    with suppress(OSError):  # a name too long
        if (run / CONFIG).exists():
            return run / CONFIG
    raise UsageError(f"{run} is no run's folder: there is no {CONFIG} to read{_below(run)}")


def _below(folder: Path) -> str:
    """Name a run in a folder of runs or of a study; return nothing if there is none."""
    with suppress(OSError, ValueError):  # a name too long, or with a NUL character
        for run in (*folder.glob(f"*/{METRICS}"), *folder.glob(f"*/*/{METRICS}")):
            return f". Runs are below it, as {run.parent}"
    return ""


def write_setting(run: Path, setting: str, value: Any) -> None:
    """Set a setting in the run.toml of a run's folder, where a later resume finds it.

    Raises:
        UsageError: If it cannot be written.
    """
    file = run / CONFIG
    with _writing(run, UsageError):
        settings = tomli.loads(file.read_text(encoding="utf-8"))
        if settings.get(setting) != value:
            write_atomically(file, tomli_w.dumps({**settings, setting: value}).encode())


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics.jsonl, without an incomplete last one.

    Raises:
        UsageError: If there is no such file, or it is damaged.
    """
    file = run / METRICS
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        metrics = [json.loads(line, object_hook=unpacked) for line in lines if line.endswith("\n")]
    except OSError as error:
        why = f"it has no {METRICS}{_below(run)}"
        raise UsageError(f"{run} is not a run's folder: {why}") from error
    except ValueError as error:
        raise UsageError(f"{file} is damaged: {error}") from error
    if not all(isinstance(line, dict) for line in metrics):
        raise UsageError(f"{file} is damaged: one of its lines is not an object")
    return metrics


class RunFolder:
    """The folder of one run, and its files.

    Raises:
        RunError: From every method that writes, if the file system fails; from those that create
            or take over the folder, `UsageError`. The message says how to continue.

    Args:
        path: The folder.
        patience: Seconds to wait for another process that has locked it.

    Attributes:
        path: The folder.
        lines: The lines of metrics.jsonl that this process wrote, or read from a checkpoint.
    """

    def __init__(self, path: Path, patience: float = 0.0) -> None:
        self.path, self._patience = path, patience
        self.lines: list[str] = []
        self._lock: Any = None

    @classmethod
    def create(cls, out: Path, name: str | None, described: str) -> "RunFolder":
        """Make a folder in `out`, called `name` or, if that is None, `described` and the time.

        Raises:
            UsageError: If it exists already, or cannot be made.
        """
        folder = cls(_make_folder(out, name, described))
        folder.lock()
        return folder

    def describe(self, config: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
        """Write run.toml and environment.json into a new folder; if that fails, delete it.

        Raises:
            UsageError: If they cannot be written.
        """
        try:
            write_atomically(self.path / CONFIG, tomli_w.dumps(dict(config)).encode())
            content = to_json(environment(origin)).encode()
            write_atomically(self.path / ENVIRONMENT, content)
        except OSError as error:
            self.unlock()
            shutil.rmtree(self.path, ignore_errors=True)  # made a moment ago
            raise UsageError(f"cannot write to {self.path}: {error.strerror}.") from error

    # -------------------------------------------------------------------- whose it is

    def lock(self) -> None:
        """Keep other processes from writing here until `unlock`, or until this process ends.

        Unfinished files of a process that was killed are deleted.

        Raises:
            UsageError: If another process has locked the folder.
        """
        from filelock import FileLock, Timeout  # takes a moment

        lock = FileLock(self.path / LOCK, timeout=self._patience, thread_local=False)
        owner = self.path / OWNER
        try:
            lock.acquire()
        except Timeout as error:
            who = "another process"
            with suppress(OSError):  # it may end at this moment
                who = owner.read_text(encoding="utf-8")
            raise UsageError(
                f"{self.path} is in use by {who}: wait until it ends, or stop it first."
            ) from error
        except (OSError, NotImplementedError) as error:
            why = getattr(error, "strerror", None) or error
            log.warning("%s cannot be locked (%s): nothing else may write there", self.path, why)
            return
        self._lock = lock
        with suppress(OSError):  # only for a message; a full disk is reported by other writes
            write_atomically(owner, this_process().encode())
        for part in (*self.path.glob(".*.part"), *self.path.glob("*/.*.part")):
            part.unlink(missing_ok=True)

    def unlock(self) -> None:
        """Let other processes write here."""
        if self._lock:
            with suppress(OSError):  # the file system may be what failed
                (self.path / OWNER).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def take_over(self) -> dict[str, Any] | None:
        """Lock the folder of an earlier run; return its last state, or None if it has none yet.

        Raises:
            UsageError: If the run cannot be continued.
        """
        with _writing(self.path, UsageError):
            self.lock()
            state = checkpoint.load(self.path)
            metrics = self.path / METRICS
            # The first checkpoint comes before the first line.
            if state is None and metrics.exists() and metrics.stat().st_size:
                raise UsageError(
                    f"the checkpoint in {self.path} is missing: it cannot be continued."
                )
        return state

    # -------------------------------------------------------------------- what a run writes

    @contextmanager
    def recording(self, heard: Iterable[logging.LogRecord]) -> Iterator[None]:
        """Write log.txt, with what was heard before the block; unlock the folder at its end."""
        with ExitStack() as ending:
            ending.callback(self.unlock)
            with _writing(self.path):
                ending.enter_context(written(self.path / LOG, heard))
            yield

    def append_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        line = json.dumps(metrics, allow_nan=False) + "\n"
        with _writing(self.path), (self.path / METRICS).open("ab") as file:  # no \r\n on Windows
            file.write(line.encode())
        self.lines.append(line)

    def restore_metrics(self, lines: Sequence[str]) -> None:
        """Write the lines of a checkpoint into metrics.jsonl, in place of its content."""
        path, self.lines = self.path / METRICS, list(lines)
        whole = "".join(lines).encode()
        with _writing(self.path, UsageError):
            logged = path.read_bytes() if path.exists() else b""
            if not logged.startswith(whole):
                log.warning("%s was cut short or changed: written anew from the checkpoint", path)
            write_atomically(path, whole)

    def save(self, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint of this state and the metrics so far; return its file."""
        with _writing(self.path):
            checkpoint.save(self.path, {**state, "metrics": self.lines})
        return self.path / checkpoint.CHECKPOINT

    def write_result(self, result: Mapping[str, Any]) -> Path:
        """Write result.json; return its path."""
        with _writing(self.path):
            write_atomically(self.path / RESULT, to_json(dict(result)).encode())
        return self.path / RESULT


@contextmanager
def _writing(folder: Path, kind: type[BnnlabError] = RunError) -> Iterator[None]:
    """Turn a failure of the file system into an error of this kind, which says how to go on."""
    try:
        yield
    except OSError as error:
        if not folder.is_dir():
            raise kind(
                f"the run's folder {folder} has gone: it was moved or deleted. If it was moved, "
                f"go on with {command('run', '--resume')} and its new place"
            ) from error
        raise kind(
            f"cannot write to {folder}: {error.strerror or first_line(error)}",
            again=command("run", "--resume", folder),
        ) from error


def named_folder(out: Path, name: str) -> Path:
    """Return the folder of this name in `out`; nothing is made.

    Raises:
        UsageError: If the name leads elsewhere, or is longer than file systems allow.
    """
    if name in ("", "..") or Path(name).name != name or "\0" in name:
        raise UsageError(f"name: {name!r:.60} is not a folder's name; --out says where it is made.")
    if (length := len(os.fsencode(name))) > LONGEST:
        raise UsageError(f"name: it has {length} bytes; a folder's name has {LONGEST} at most.")
    return out / name


def _make_folder(out: Path, name: str | None, described: str) -> Path:
    chosen = f"{described}-{time.strftime('%Y%m%d-%H%M%S')}" if name is None else name
    path = named_folder(out, chosen)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number in count(2):
            try:
                path.mkdir()
                break
            except FileExistsError:  # another run may have begun at the same moment
                if name is not None:
                    raise
                path = out / f"{chosen}-{number}"
    except FileExistsError as error:
        if not out.is_dir():
            raise UsageError(f"cannot write runs to {out}: it is not a folder.") from error
        resume = f", or continue it with --resume {shlex.quote(str(path))}"
        again = "." if _below(path) else resume  # a study is continued by what began it
        raise UsageError(f"{path} exists. Choose another --name{again}") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise UsageError(f"cannot make the folder {path}: {why}.") from error
    return path
