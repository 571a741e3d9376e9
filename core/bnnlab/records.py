"""The run's folder: what a run leaves. Files are replaced whole; metrics and log grow by lines."""

import hashlib
import json
import logging
import logging.handlers
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from bnnlab.errors import UsageError, first_line

log = logging.getLogger("bnnlab")

CONFIG = "run.toml"
CHECKPOINT = Path("checkpoint") / "state.pt"
LINES_BEFORE_CHECKPOINT = 5
"""Those there may be before the first: untrained, epoch, diagnosis, weights, evaluation."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """Return 16 digits of the SHA-256 of a file, a run's checkpoint, or a folder's files in order.

    Of what does not exist it is that of nothing.
    """
    checkpoint = path / CHECKPOINT
    found = checkpoint if checkpoint.exists() else path
    sha = hashlib.sha256()
    for file in sorted(found.rglob("*")) if found.is_dir() else [found]:
        if file.is_file():
            with file.open("rb") as content:
                sha.update(hashlib.file_digest(content, "sha256").digest())
    return sha.hexdigest()[:16]


def to_json(value: Any) -> str:
    """Return indented JSON in which each innermost list stays on one line."""
    text = json.dumps(value, indent=2, allow_nan=False)

    def flatten(found: re.Match[str]) -> str:
        return "[" + re.sub(r"\n *", " ", found[1]).strip() + "]"  # strings hold no line break

    return re.sub(r"\[([^\[\]{}]*)\]", flatten, text) + "\n"


@contextmanager
def hear() -> Iterator[list[logging.LogRecord]]:
    """Collect what the `bnnlab` loggers say before there is a folder for it."""
    said = logging.handlers.BufferingHandler(sys.maxsize)
    log.addHandler(said)
    try:
        yield said.buffer
    finally:
        log.removeHandler(said)


class RunFolder:
    """One run's folder: run.toml, environment.json, metrics.jsonl, result.json, checkpoint/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handler: logging.Handler | None = None

    @classmethod
    def create(cls, out: Path, name: str | None, described: str) -> "RunFolder":
        """Make a new folder `out/name`; without a name, one from what runs and the time.

        Raises:
            UsageError: If it exists already, or cannot be written.
        """
        if name is not None and (name in ("", "..") or Path(name).name != name):
            raise UsageError(f"name: {name!r} is not a folder's name; --out says where it is made.")
        chosen = name or f"{described}-{time.strftime('%Y%m%d-%H%M%S')}"
        path, tries = out / chosen, 1
        try:
            out.mkdir(parents=True, exist_ok=True)
            while path.exists() and name is None:
                tries += 1
                path = out / f"{chosen}-{tries}"
            path.mkdir()
        except FileExistsError as error:
            if not out.is_dir():
                raise UsageError(f"cannot write runs to {out}: it is not a folder.") from error
            raise UsageError(
                f"{path} exists. Choose another --name, or continue it with --resume {path}"
            ) from error
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot make the folder {path}: {first_line(error)}.") from error
        return cls(path)

    # -------------------------------------------------------------------- the small files

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write run.toml, which `bnn run --config` repeats."""
        write_atomically(self.path / CONFIG, tomli_w.dumps(dict(config)).encode())

    def write_environment(self, plugins: Mapping[str, str]) -> None:
        """Write environment.json: versions, machine, threads, plugins."""
        import torch

        environment = {
            "bnnlab": version("bnnlab"),
            "plugins": dict(plugins),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "platform": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "cuda": torch.version.cuda if torch.cuda.is_available() else None,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "command": sys.argv,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        write_atomically(self.path / "environment.json", to_json(environment).encode())

    def append_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics, allow_nan=False) + "\n")

    def keep_metrics(self, lines: int) -> None:
        """Drop what was logged after the checkpoint that a resumed run starts from.

        Raises:
            UsageError: If there is less than was logged at the checkpoint, or so much that there
                must have been a checkpoint and there is none.
        """
        path = self.path / "metrics.jsonl"
        logged = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if len(logged) < lines:
            raise UsageError(f"{path} is cut short: {len(logged)} lines of {lines} are there.")
        if not lines and len(logged) > LINES_BEFORE_CHECKPOINT:
            raise UsageError(f"{self.path / CHECKPOINT} is missing: the run cannot be continued.")
        write_atomically(path, b"".join(logged[:lines]))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json."""
        write_atomically(self.path / "result.json", to_json(dict(result)).encode())

    # -------------------------------------------------------------------- checkpoints

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by this state."""
        import io

        import torch

        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        (self.path / CHECKPOINT).parent.mkdir(exist_ok=True)
        write_atomically(self.path / CHECKPOINT, buffer.getvalue())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the last saved state, or None if there is none.

        Raises:
            UsageError: If the file is damaged.
        """
        import torch

        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types for a damaged file
            raise UsageError(f"{path} is damaged or cut short.") from error
        return state

    # -------------------------------------------------------------------- the log

    def start_log(self, earlier: Iterable[logging.LogRecord] = ()) -> None:
        """Send what the `bnnlab` loggers said earlier, and say until `stop_log`, to log.txt."""
        self._handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        for record in earlier:
            self._handler.handle(record)
        log.addHandler(self._handler)

    def stop_log(self) -> None:
        """Close log.txt."""
        if self._handler:
            log.removeHandler(self._handler)
            self._handler.close()
            self._handler = None
