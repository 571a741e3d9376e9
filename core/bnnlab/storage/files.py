"""Files that are written whole or not at all, and JSON that people can read."""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from bnnlab.errors import UsageError

WINDOWS = os.name == "nt"
PATIENCE = 5.0
"""Seconds to wait, on Windows, until nobody reads a file that is to be replaced."""


def expect_path(path: Path) -> None:
    """Refuse a path that the system cannot look up; there need be nothing under it.

    Raises:
        UsageError: If a name is too long, or a folder on the way may not be entered.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error


def expect_place(path: Path, example: str, is_ours: Callable[[Path], bool], ours: str) -> None:
    """Refuse a place where a file cannot be written, before its content is computed.

    Args:
        path: The place. What is there is replaced if it is ours.
        example: A name for such a file.
        is_ours: Whether a file may be replaced.
        ours: What such a file is.

    Raises:
        UsageError: If it is a folder, in no folder, or a file that is not ours or cannot be read.
    """
    expect_path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file, such as {path / example}")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} in")
    try:
        if path.is_file() and not is_ours(path):
            raise UsageError(f"{path} exists and is no {ours} of bnnlab: choose another name")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def write_atomically(path: Path, *content: bytes | memoryview, keep: Path | None = None) -> None:
    """Write a file so that a reader sees the old content or the new content, never a part.

    A link stays one: the file that it leads to is written. What is no file but a device or a pipe,
    such as /dev/stdout, gets the content.

    Args:
        path: The file.
        content: Pieces, written in order.
        keep: Path under which the old file is kept; None: it is not.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with target.open("wb") as other:
            other.writelines(content)
        return
    with replacing(target, keep) as file:
        file.writelines(content)


@contextmanager
def replacing(path: Path, keep: Path | None = None) -> Iterator[BinaryIO]:
    """Yield a new file, to write and to read, which takes a path at the end of the block.

    If the block fails, there is no such file, and the path is as it was.

    Args:
        path: A file, or where none is.
        keep: As in `write_atomically`.
    """
    part = path.with_name(f".{path.name}.{threading.get_native_id()}.part")
    try:
        with part.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            keep.unlink(missing_ok=True)
            try:
                keep.hardlink_to(path)
            except OSError:  # a file system without links
                put(path, keep)
        put(part, path)
    finally:
        part.unlink(missing_ok=True)


def put(file: Path, place: Path) -> None:
    """Move a file, also to where another one is. Windows refuses it while somebody reads that."""
    until = time.monotonic() + PATIENCE * WINDOWS
    while True:
        try:
            file.replace(place)
            return
        except PermissionError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.02)


def to_json(value: Any) -> str:
    """Return indented JSON in which each innermost list without brackets stays on one line."""
    text = json.dumps(value, indent=2, allow_nan=False)

    def flatten(found: re.Match[str]) -> str:
        return "[" + re.sub(r"\n *", " ", found[1]) + "]"

    # Strings hold no line break: a bracket beside one is none of theirs.
    return re.sub(r"\[\n *([^\[\]{}]*?)\n *\]", flatten, text) + "\n"
