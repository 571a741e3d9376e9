"""Folders of images that an earlier process has decoded."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

import bnnlab
from bnnlab.storage import cache
from bnnlab_vision import cached
from bnnlab_vision.layout import IMAGES
from bnnlab_vision.reading import ImageFiles


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of two classes with images; one is turned by its EXIF data."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "arrays")
    monkeypatch.setattr(cached, "WORTH", 0.0)
    draws = torch.Generator().manual_seed(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(12):
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(256, (9, 8), generator=draws, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(file, exif=exif if number == 3 else None)
    return tmp_path / "images"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of files each time that some are decoded."""
    calls, read = list[int](), ImageFiles.read_all
    monkeypatch.setattr(
        ImageFiles, "read_all", lambda self, keep: calls.append(len(self.files)) or read(self, keep)
    )
    return calls


def look(root: Path, **options: Any) -> tuple[Any, list[torch.Tensor]]:
    given = {"folder": str(root), "image_size": 8, "grey": True, "workers": 0, **options}
    stream = bnnlab.create("stream", "image-folder", **given)
    parts = (stream[0].train, stream[0].test)
    rows = [part.raw(torch.arange(len(part))) for part in parts]
    return stream.protocol(), [*itertools.chain(*rows), parts[0].mean, parts[0].std]


def same(one: tuple[Any, list[torch.Tensor]], other: tuple[Any, list[torch.Tensor]]) -> bool:
    return one[0] == other[0] and all(map(torch.equal, one[1], other[1]))


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_a_folder_is_decoded_once(root: Path, decoded: list[int], in_memory: str) -> None:
    first = look(root, in_memory=in_memory)
    assert same(look(root, in_memory=in_memory), first)
    assert decoded == [12]
    assert first[0]["data"][0]["turned_by_exif"] == 1


def test_another_size_time_name_setting_or_library_is_decoded_again(
    root: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, file = look(root), root / "a" / "0.png"
    known = file.stat()
    content = file.read_bytes()
    file.write_bytes(content + b"\0")  # behind the end of an image
    os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert not same(look(root), first)
    file.write_bytes((root / "a" / "2.png").read_bytes()[: len(content)].ljust(len(content), b"\0"))
    os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns + 1))
    look(root)
    file.rename(root / "a" / "00.png")
    look(root)
    look(root, exif=False)
    look(root, grey=False)
    look(root, image_size=7)
    look(root, in_memory="never")
    monkeypatch.setattr("PIL.__version__", "0")
    look(root)
    assert decoded == [12] * 9


def test_a_damaged_file_of_the_cache_is_made_again(root: Path, decoded: list[int]) -> None:
    first = look(root)
    (file,) = cache.files()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert same(look(root), first)
    assert same(look(root), first)
    assert decoded == [12, 12]


def test_nothing_is_kept_of_a_folder_with_a_damaged_image_or_one_that_changes_meanwhile(
    root: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ImageFiles.read_all

    def changing(self: ImageFiles, keep: bool) -> Any:
        found = read(self, keep)
        os.utime(root / "a" / "0.png")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ImageFiles, "read_all", changing)
        look(root)
    assert cache.files() == []
    (root / "b" / "1.png").write_bytes(b"no image")
    look(root, corrupt="skip")
    assert cache.files() == []
    assert decoded == [12, 12]


def test_what_is_decoded_at_once_is_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "WORTH", 3600)
    look(root)
    assert cache.files() == []


def test_images_end_as_in_torchvision() -> None:
    assert IMAGES == IMG_EXTENSIONS
