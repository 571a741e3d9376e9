"""A checkpoint's file is what was written, or it is not read."""

import errno
import hashlib
import io
import pickle
import random
import tracemalloc
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch

from bnnlab import RunError, UsageError
from bnnlab.storage.checkpoint import (
    CHECKPOINT,
    KEYS,
    MAGIC,
    PREVIOUS,
    VERSION,
    DamagedError,
    load,
    read,
    save,
)
from bnnlab.storage.files import replacing


def state(number: int) -> dict[str, Any]:
    own = {"device": "cpu", "metrics": [], "model": {"w": torch.full((3000,), number)}}
    data = {"input_shape": [4], "classes": 3, "rule_infers": False}
    return {**{name: {} for name in KEYS}, **own, "data": data}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with the checkpoints 1 and 2."""
    assert load(tmp_path) is None
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    return tmp_path


@pytest.mark.parametrize("odd", [np.float64(1), np.zeros(2), defaultdict(int), Path("x")], ids=repr)
def test_what_could_not_be_read_again_is_refused_when_it_is_written(folder: Path, odd: Any) -> None:
    with pytest.raises(RunError, match=r"the state of the optimizer holds [a-z_]+\."):
        save(folder, {**state(3), "optimizer": {"state": {0: {"kept": [odd]}}}})
    assert number(load(folder)) == 2


def number(found: dict[str, Any] | None) -> int:
    assert found is not None
    return int(found["model"]["w"][0])


def test_writing_takes_no_memory_for_a_copy(tmp_path: Path) -> None:
    large = {**state(1), "model": {str(n): torch.zeros(250_000) for n in range(20)}}  # 20 MB
    save(tmp_path, large)
    tracemalloc.start()
    save(tmp_path, large)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


class _Full:
    """A file on a disk that takes some bytes."""

    def __init__(self, file: BinaryIO, left: int) -> None:
        self.left, self.seek, self.tell = left, file.seek, file.tell
        self.read, self.flush, self._write = file.read, file.flush, file.write

    def write(self, content: bytes) -> int:
        self.left -= len(content)
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(content)


@pytest.mark.parametrize("room", [0, 100, 5000, 13_000])
def test_a_full_disk_is_said_as_such_and_leaves_the_checkpoint(
    folder: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def nearly_full(*args: Any, **given: Any) -> Iterator[_Full]:
        with replacing(*args, **given) as file:
            yield _Full(file, room)

    monkeypatch.setattr("bnnlab.storage.checkpoint.replacing", nearly_full)
    with pytest.raises(OSError, match="No space left"):
        save(folder, state(3))
    assert number(load(folder)) == 2
    assert sorted(each.name for each in (folder / CHECKPOINT).parent.iterdir()) == [
        "previous.pt",
        "state.pt",
    ]


def test_the_newest_and_the_one_before_are_kept(folder: Path) -> None:
    save(folder, state(3))
    assert number(read(folder / PREVIOUS)) == 2
    assert number(load(folder)) == 3
    assert sorted(path.name for path in (folder / "checkpoint").iterdir()) == [
        "previous.pt",
        "state.pt",
    ]


@pytest.mark.parametrize("failing", ["fsync", "replace", "hardlink_to"])
def test_whatever_fails_in_the_writing_no_checkpoint_is_lost(
    failing: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync" if failing == "fsync" else f"pathlib.Path.{failing}", fail)
        if failing == "hardlink_to":  # a file system that has no links
            save(folder, state(3))
            assert number(read(folder / PREVIOUS)) == 2
        else:
            with pytest.raises(OSError, match="No space left"):
                save(folder, state(3))
    assert number(load(folder)) == (3 if failing == "hardlink_to" else 2)
    assert not list(folder.rglob("*.part"))


def test_no_damage_is_accepted(folder: Path) -> None:
    file, draw = folder / CHECKPOINT, random.Random(0)
    whole = file.read_bytes()
    damaged = [b"", b"junk", whole[:-1], whole + b"\0", whole[:200], pickle.dumps(Path)]
    damaged += [flipped(whole, draw.randrange(8 * len(whole))) for _ in range(100)]
    damaged += [flipped(whole, 8 * byte + byte % 8) for byte in range(84)]  # all of the head
    pages = range(0, len(whole), 4096)
    damaged += [
        whole[:page] + bytes(len(whole[page:][:4096])) + whole[page + 4096 :] for page in pages
    ]
    for content in damaged:
        file.write_bytes(content)
        with pytest.raises(DamagedError, match=r"state\.pt is damaged") as caught:
            read(file)
        assert "\n" not in str(caught.value)


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@pytest.mark.parametrize("damaged", [None, b"junk"])
def test_the_one_before_is_fallen_back_to_aloud_and_two_lost_ones_are_refused(
    damaged: bytes | None, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newest = folder / CHECKPOINT
    newest.unlink()
    if damaged:
        newest.write_bytes(damaged)
    assert number(load(folder)) == 1
    assert "The run goes on from the checkpoint before it." in caplog.text
    assert number(load(folder)) == 1, "it is the newest now"
    newest.write_bytes(b"junk")
    with pytest.raises(UsageError, match=r"state\.pt is damaged.*previous\.pt is missing"):
        load(folder)


def written(
    folder: Path, content: Any = None, packed: bytes = b"", version: bytes = VERSION
) -> Path:
    """Write a checkpoint that has its digest, whatever is in it."""
    file = io.BytesIO()
    torch.save(content, file)
    body = version + (packed or file.getvalue())
    head = MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n"
    (folder / CHECKPOINT).write_bytes(head + body)
    return folder / CHECKPOINT


def test_what_is_no_runs_state_is_refused_in_words(folder: Path) -> None:
    for content, message in (
        ([1, 2], "holds a list, and no run's state"),
        ({"model": {}}, "is no whole checkpoint: it lacks data, device, files"),
        ({**state(3), "identity": None}, "is no run's checkpoint: identity in it is a NoneType"),
        ({**state(3), "metrics": {}}, "metrics in it is a dict"),
        ({**state(3), "data": {}}, "it lacks classes, input_shape, rule_infers"),
        ({**state(3), "data": {**state(3)["data"], "classes": "3"}}, "classes in it is a str"),
        (folder, r"cannot be read: .*[Ww]eights.only"),  # unpickling it would run code
    ):
        with pytest.raises(UsageError, match=message):
            read(written(folder, content))
    with pytest.raises(UsageError, match="is of another version of bnnlab's format"):
        load(written(folder, state(3), version=b"2\n").parents[1])


def test_what_unpacks_to_more_than_its_size_is_refused(folder: Path) -> None:
    plain, packed = io.BytesIO(), io.BytesIO()
    torch.save({"w": torch.zeros(10**6)}, plain)
    with zipfile.ZipFile(plain) as found, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as to:
        for name in found.namelist():
            to.writestr(name, found.read(name))
    for file in (written(folder, packed=packed.getvalue()), folder / "old.pt"):
        (folder / "old.pt").write_bytes(packed.getvalue())
        with pytest.raises(UsageError, match="it would unpack to more than its size"):
            read(file, old=True)
