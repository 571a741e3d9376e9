"""Arrays that later processes need not compute again."""

import logging
import os
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bnnlab.cli import main
from bnnlab.storage import cache
from bnnlab.storage.cache import Content

KEY = "0" * 64


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "arrays")
    return tmp_path / "arrays"


def content(size: int = 5) -> Content:
    rows = np.arange(3 * size, dtype=np.uint8).reshape(size, 3)
    others = {"empty": np.zeros((0, 2, 2), np.uint8), "floats": np.linspace(0, 1, size)[::-1]}
    return Content({"rows": rows, **others}, {"1": ["ü", 0.1]})


def expect(found: Content | None, like: Content) -> None:
    assert found is not None
    assert found.about == like.about
    assert found.arrays.keys() == like.arrays.keys()
    for name, array in like.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)


def test_what_is_kept_is_found_and_writes_to_it_are_not_saved() -> None:
    assert cache.find(KEY) is None
    cache.keep(KEY, content())
    expect(found := cache.find(KEY), content())
    assert found is not None
    found.arrays["rows"][:] = 7
    expect(cache.find(KEY), content())


def test_a_file_with_any_byte_changed_or_cut_off_is_not_read(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.keep(KEY, content(1))
    good = (folder / KEY).read_bytes()
    for place in range(len(good)):
        changed = bytearray(good)
        changed[place] ^= 1
        (folder / KEY).write_bytes(changed)
        assert cache.find(KEY) is None
    for length in (0, 1, 64, 65, len(good) - 1):
        (folder / KEY).write_bytes(good[:length])
        assert cache.find(KEY) is None
    assert len(caplog.records) == len(good) + 5
    assert caplog.messages[0] == f"{folder / KEY} is damaged: it is made again"
    cache.keep(KEY, content(1))
    expect(cache.find(KEY), content(1))


def test_a_full_disk_and_a_folder_that_is_a_file_are_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("")
    cache.keep(KEY, content())
    folder.unlink()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(99, 0, 99))
    cache.keep(KEY, content())
    begins = f"later runs must read the data again: cannot write to {folder}: "
    assert [each.removeprefix(begins) for each in caplog.messages] == [
        "File exists",
        "55 bytes are more than half of what is free there",
    ]
    assert cache.find(KEY) is None


def test_many_may_write_and_read_at_the_same_time() -> None:
    def work(_: int) -> None:
        cache.keep(KEY, content(1000))
        expect(cache.find(KEY), content(1000))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(40)))


def test_the_doctor_says_its_size_and_deletes_it(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cache.keep(KEY, content())
    (folder / f".{KEY}.{os.getpid()}.part").write_bytes(b"of a process that died")
    size = cache.size()
    expect(mapped := cache.find(KEY), content())
    main(["doctor"])
    assert f"{folder} ({size:,} bytes)" in capsys.readouterr().out
    main(["doctor", "--clear-cache"])
    said = capsys.readouterr()
    assert f"deleted {size:,} bytes in {folder}" in said.err
    assert f"{folder} (0 bytes)" in said.out
    assert cache.find(KEY) is None
    expect(mapped, content())
