"""A run's checkpoint: one file with a digest of its content, and the one before.

The file is `MAGIC`, the SHA-256 of all that follows in hexadecimal digits, the format's version,
each on a line, and what `torch.save` writes. Content and digest are replaced at once.
"""

import hashlib
import io
import logging
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from bnnlab.errors import RunError, UsageError, explain
from bnnlab.storage.files import put, replacing

log = logging.getLogger(__name__)

CHECKPOINT = Path("checkpoint") / "state.pt"
PREVIOUS = Path("checkpoint") / "previous.pt"
MAGIC = b"bnnlab checkpoint\n"
VERSION = b"1\n"
OLD_KEYS = ("model", "rule", "optimizer", "progress", "identity", "files", "data")
"""What the format of before held, too."""
KEYS: dict[str, Any] = {
    **dict.fromkeys(OLD_KEYS, dict),
    "device": str,
    "metrics": list,
    "versions": dict,
}
"""What a state holds, by type."""
DATA = {"input_shape": list, "classes": int, "rule_infers": bool}
"""What its `data` hold."""
_OLD = b"PK"
"""What a file of before, that is torch's alone, begins with."""
_ALLOWED = "A state may hold tensors, numbers and text of Python, lists and dicts"
_EARLIER = "%s is of an earlier version of bnnlab: whether it is damaged is unknown"


class DamagedError(UsageError):
    """A checkpoint is missing or damaged."""


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a run. The last checkpoint becomes the one before.

    Raises:
        RunError: If the state holds objects that cannot be written, or could not be read again.
    """
    newest = folder / CHECKPOINT
    newest.parent.mkdir(exist_ok=True)
    with replacing(Path(os.path.realpath(newest)), keep=folder / PREVIOUS) as file:
        body = _Body(file)
        if fault := _pack(dict(state), body):
            probes = {f"probe {who}": its for who, its in state.get("probes", {}).items()}
            every = {**{f"the {name}": its for name, its in state.items()}, **probes}
            *_, where = [name for name, its in every.items() if _pack(its, io.BytesIO())]
            why = f"the state of {where} {fault}. {_ALLOWED}"
            raise RunError(f"a checkpoint cannot be written: {why}")
        file.seek(0)
        file.write(_head(body.sha))


class _Body:
    """What follows the head of a new file, as a file of its own: nothing of it is in memory.

    Attributes:
        sha: Of the version and of what was written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.sha, self._file = hashlib.sha256(VERSION), file
        self._begin = file.write(_head(self.sha))
        self._failure: OSError | None = None
        self.read = file.read

    def write(self, content: bytes) -> int:
        """Write, or remember why not: torch would make of an error here one of its own."""
        if self._failure is None:
            try:
                self._file.write(content)
            except OSError as error:
                self._failure = error
        self.sha.update(content)
        return len(content)

    def flush(self) -> None:
        """Raise what `write` could not: torch calls this at its end."""
        if self._failure is not None:
            raise self._failure
        self._file.flush()

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        begin = self._begin if whence == os.SEEK_SET else 0
        return self._file.seek(begin + place, whence) - self._begin


def _head(sha: "hashlib._Hash") -> bytes:
    return MAGIC + sha.hexdigest().encode() + b"\n" + VERSION


def _pack(state: Any, into: Any) -> str:
    """Write a state; return what in it cannot be written or read again, empty for nothing."""
    import torch

    try:
        torch.save(state, into)
    except (AttributeError, TypeError, pickle.PicklingError) as error:  # a function, for example
        return f"holds what cannot be pickled, {explain(error)}"
    into.seek(0)
    odd = torch.serialization.get_unsafe_globals_in_checkpoint(into)
    return f"holds {', '.join(sorted(odd))}" if odd else ""


def load(folder: Path) -> dict[str, Any] | None:
    """Return the state to continue from; None if there is none yet.

    If the last checkpoint is damaged or missing, warn and return the one before.

    Raises:
        UsageError: If both are damaged, or of another version of the format.
    """
    newest, before = folder / CHECKPOINT, folder / PREVIOUS
    if not newest.exists() and not before.exists():
        return None
    try:
        return read(newest)
    except DamagedError as error:
        try:
            state = read(before)
        except DamagedError as other:
            raise UsageError(f"{error} There is no other to go on from: {other}") from error
        put(before, newest)
        log.warning("%s The run goes on from the checkpoint before it.", error)
        return state


def read(path: Path, *, old: bool = False) -> dict[str, Any]:
    """Return the state in a checkpoint's file; with `old`, also in one without a digest.

    Raises:
        DamagedError: If the file is missing or damaged.
        UsageError: If the format has another version, or the content is not a state.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    if content.startswith(_OLD):
        if not old:
            raise UsageError(
                f"{path} is of an earlier version of bnnlab, without a digest: it can be loaded, "
                "but the run cannot be continued. Start a new run."
            )
        log.warning(_EARLIER, path)
        return _checked(unpack(path, content), path, {name: KEYS[name] for name in OLD_KEYS})
    head, body = content[: len(MAGIC) + 65], memoryview(content)[len(MAGIC) + 65 :]
    if head != MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise DamagedError(f"{path} is damaged: it is not what was written.")
    if body[: len(VERSION)] != VERSION:
        raise UsageError(f"{path} is of another version of bnnlab's format: use that version.")
    return _checked(unpack(path, body[len(VERSION) :]), path, KEYS)


def warn_if_old(folder: Path) -> None:
    """Warn if a run's folder has the old format."""
    path = folder / CHECKPOINT
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_OLD)) == _OLD:
                log.warning(_EARLIER, path)


def _checked(state: Any, path: Path, kinds: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(state, dict):
        raise UsageError(f"{path} holds a {type(state).__name__}, and no run's state.")
    for part, wanted in ((state, kinds), (state.get("data", {}), DATA)):
        missing = sorted(wanted.keys() - part.keys())
        if missing:
            raise UsageError(f"{path} is no whole checkpoint: it lacks {', '.join(missing)}.")
        for name, kind in wanted.items():
            if not isinstance(part[name], kind):
                found = type(part[name]).__name__
                raise UsageError(f"{path} is no run's checkpoint: {name} in it is a {found}.")
    return state


def unpack(path: Path, content: bytes | memoryview) -> Any:
    """Return what `torch.save` wrote, if it runs no code and is not larger than its file.

    Raises:
        UsageError: If it cannot be read so; the message names the file `path`.
    """
    import torch

    file = io.BytesIO(content)
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                sizes = [each.file_size for each in archive.infolist()]
            if sum(sizes) > len(content):
                raise ValueError("it would unpack to more than its size")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for what it cannot read
        raise UsageError(f"{path} cannot be read: {explain(error)}.") from error


def digest(path: Path) -> str:
    """Return 16 digits of the SHA-256 of a file, a run's checkpoint, or all files of a folder.

    A missing path has the digest of empty content.
    """
    checkpoint = path / CHECKPOINT
    found = checkpoint if checkpoint.exists() else path
    sha = hashlib.sha256()
    for file in sorted(found.rglob("*")) if found.is_dir() else [found]:
        if file.is_file():
            with file.open("rb") as content:
                sha.update(hashlib.file_digest(content, "sha256").digest())
    return sha.hexdigest()[:16]
