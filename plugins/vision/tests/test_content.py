"""What files show: turned upright, dropped, the same in two parts; and how a run says it."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import bnnlab
from bnnlab import PluginHost
from bnnlab.cli import main
from bnnlab.errors import DataError, UsageError
from bnnlab.interfaces.stream import protocol_hash
from bnnlab_vision.decoding import NO_EXIF, decode
from bnnlab_vision.folders import FolderSingle
from bnnlab_vision.reading import GUARD, ImageFiles

LayOut = Callable[..., Path]
ORIENTATION = 0x0112


def make(root: Path, **options: Any) -> FolderSingle:
    options = {"image_size": 8, "workers": 0, **options}
    device = torch.device("cpu")
    return FolderSingle(data=root.parent, device=device, seed=0, folder=str(root), **options)


def warned(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(each.getMessage() for each in caplog.records if each.levelno >= 30)


def noise(mode: str = "RGB", seed: int = 0) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.RandomState(seed).randint(0, 256, (8, 8, channels)).astype(np.uint8)
    return Image.fromarray(values.squeeze(), mode)


def encode(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(image: Image.Image, orientation: int, kind: str = "png") -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image, kind, exif=exif)


# ---------------------------------------------------------------------------- EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_an_image_is_turned_as_its_exif_says(orientation: int, kind: str) -> None:
    content = turned(noise(), orientation, kind)
    with Image.open(BytesIO(content)) as image:
        upright = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    found = decode(content, 8, grey=False).pixels
    assert torch.equal(found, torch.from_numpy(upright).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_images_of_any_kind_are_turned(mode: str) -> None:
    image = noise("L").convert("I;16") if mode == "I;16" else noise(mode)
    upright, on_its_side = (decode(turned(image, way), 8, grey=False) for way in (1, 6))
    assert torch.equal(on_its_side.pixels, upright.pixels.rot90(-1, (1, 2)))


def test_damaged_exif_turns_nothing() -> None:
    found = decode(encode(noise(), "png", exif=b"Exif\0\0no TIFF"), 8, grey=False)
    assert torch.equal(found.pixels, decode(encode(noise()), 8, grey=False).pixels)
    assert found.remarks == (NO_EXIF,)


def test_the_protocol_says_exactly_where_images_were_turned(lay_out: LayOut) -> None:
    root = lay_out("")
    plain, off = make(root).protocol(), make(root, exif=False).protocol()
    assert plain == off
    file = root / "a" / "0.png"
    with Image.open(file) as image:
        file.write_bytes(turned(image, 6))
    on, off = make(root), make(root, exif=False)
    assert not torch.equal(on[0].train.pixels, off[0].train.pixels)
    assert on.protocol()["data"][0]["turned_by_exif"] == 1
    assert off.protocol()["data"][0].keys() == plain["data"][0].keys()
    assert protocol_hash(on.protocol()) != protocol_hash(off.protocol())


# ---------------------------------------------------------------------------- copies


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_images_that_are_learned_from_and_tested_are_warned_of_or_refused(
    lay_out: LayOut, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay_out("train", "test")
    assert make(root, copies="refuse")
    with Image.open(root / "train" / "a" / "0.png") as image:
        image.save(root / "test" / "b" / f"copy.{kind}")
    before = make(root).protocol()
    message = (
        "1 of 9 test images are learned from, too, pixel for pixel "
        f"(test/b/copy.{kind} = train/a/0.png)"
    )
    assert message in warned(caplog)
    with pytest.raises(DataError, match=r"Delete them in one of the parts") as caught:
        make(root, copies="refuse")
    assert message in str(caught.value)
    (root / "test" / "b" / f"copy.{kind}").unlink()
    assert make(root, copies="refuse").protocol() != before


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_copies_are_warned_of_once_and_named_and_most_of_a_test_part_is_refused(
    lay_out: LayOut, in_memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    root = lay_out("train", "test")
    options = {"folder": root, "image_size": 8, "workers": 0, "in_memory": in_memory}
    host = PluginHost()
    for copies, (number, name) in enumerate(product(range(3), "ab"), start=1):
        (root / "test" / name / f"{number}.png").unlink()
        os.link(*(root / part / name / f"{number}.png" for part in ("train", "test")))
        if copies > 4:
            with pytest.raises(UsageError, match=f"{copies} of 8 test .* part, too: take"):
                bnnlab.create("stream", "image-folder", host=host, **options)
            continue
        caplog.clear()
        bnnlab.create("stream", "image-folder", host=host, **options)
        (warning,) = warned(caplog).splitlines()
        assert f"{copies} of 8" in warning
        assert "test/a/0.png = train/a/0.png" in caplog.text


def test_copies_are_found_where_the_seed_takes_the_test_part_and_in_a_held_out_part(
    lay_out: LayOut, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay_out("")
    for number in range(4):
        for name in "ab":
            os.link(root / name / f"{number}.png", root / name / f"{number} - Copy.png")
    with pytest.raises(DataError, match=r"of 4 test images are learned from"):
        make(root, copies="refuse")
    parted = lay_out("parts/train", "parts/test", "parts/val") / "parts"
    os.link(parted / "train" / "a" / "0.png", parted / "val" / "a" / "9.png")
    with pytest.raises(DataError, match=r"1 of 9 validation images .*val/a/9\.png"):
        make(parted, copies="refuse")


def test_icons_that_differ_in_their_transparency_alone_are_said_to_be_the_same(
    lay_out: LayOut, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay_out("")
    for name in "ab":
        icon = noise("RGBA", seed=3)
        icon.putalpha(noise("L", seed=ord(name)))
        icon.save(root / name / "icon.png")
    make(root, test_share=0.1)
    assert "2 images are in part transparent" in warned(caplog)
    assert "b/icon.png = a/icon.png" in warned(caplog)


def test_an_opaque_alpha_channel_is_not_worth_a_word(
    lay_out: LayOut, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay_out("")
    image = noise("RGB", seed=3)
    image.putalpha(255)
    image.save(root / "a" / "icon.png")
    make(root)
    assert not warned(caplog)


def test_that_only_the_first_of_several_frames_is_used_is_said(
    lay_out: LayOut, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay_out("")
    frames = [noise(seed=3), noise(seed=4)]
    frames[0].save(root / "a" / "pages.tiff", save_all=True, append_images=frames[1:])
    make(root)
    assert "1 images are of several frames or pages; the first is used: a/pages.tiff" in warned(
        caplog
    )


# ---------------------------------------------------------------------------- how it is said


def test_a_run_says_in_a_line_what_it_understood_and_its_log_holds_the_rest(
    lay_out: LayOut, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = lay_out("train", "Test")
    (root / "train" / "a" / "x.gif").write_bytes(b"GIF89a")
    words = ["run", "-q", "--stream", "image-folder", "--out", str(tmp_path), "--name", "run"]
    settings = {"folder": root, "image_size": 8, "workers": 0}
    sets = [word for key, value in settings.items() for word in ("--set", f"stream.{key}={value}")]
    assert main([*words, *sets, "--set", "model.hidden=[4]"]) == 0
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == (
        "note: set: 2 classes; images: "
        "8 to learn from (train/), 8 to test (Test/), 1 files left out"
    )
    assert second == f"WARNING: not used in {root}: 1 .gif (x.gif, ...)"
    log = (tmp_path / "run" / "log.txt").read_text()
    assert first.removeprefix("note: ") in log
    assert "classes, with their images of train + test: a 4+4, b 4+4" in log
    assert "left out: 1 .gif (x.gif, ...); hidden and passed over: 0" in log


def test_a_path_is_a_value_of_an_option_and_the_log_of_a_call_says_what_was_understood(
    lay_out: LayOut, tmp_path: Path
) -> None:
    root = lay_out("train", "test")
    options = {"folder": root, "image_size": 8, "workers": 0}
    stream = bnnlab.create("stream", "image-folder", **options)
    assert len(stream[0].train) == 8
    model = {"name": "mlp", "hidden": [4]}
    result = bnnlab.run(
        stream={"name": "image-folder", **options}, model=model, out=tmp_path, name="run"
    )
    assert result.protocol_description["stream"] == stream.protocol()
    assert "classes, with their images of" in (tmp_path / "run" / "log.txt").read_text()


# ---------------------------------------------------------------------------- worker processes

UNGUARDED = """
import sys, torch, multiprocessing
from bnnlab_vision.reading import ImageFiles
multiprocessing.set_start_method(sys.argv[1], force=True)
options = {"size": 8, "grey": False, "workers": 1, "device": torch.device("cpu")}
next(ImageFiles(sys.argv[2:], **options).read([torch.arange(1)] * 2))
"""


@pytest.mark.slow  # processes that import torch and torchvision
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_script_without_a_main_guard_is_told_of_it(
    lay_out: LayOut, tmp_path: Path, method: str
) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method} here")
    script, image = tmp_path / "unguarded.py", lay_out("") / "a" / "0.png"
    script.write_text(UNGUARDED)
    command = [sys.executable, str(script), method, str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(GUARD)
    assert "bootstrapping" not in done.stderr


def test_processes_that_end_while_they_read_are_another_matter(
    lay_out: LayOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(file) for file in lay_out("").rglob("*.png")]
    options = {"size": 8, "grey": False, "device": torch.device("cpu")}
    first = next(ImageFiles(files, workers=0, **options).decode([torch.arange(1)]))

    def killed(*_: Any, **__: Any) -> Any:
        yield first
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    monkeypatch.setattr("bnnlab_vision.reading.DataLoader", killed)
    with pytest.raises(DataError, match=r"ended \(RuntimeError: .*Killed.*\)\. Read without them"):
        list(ImageFiles(files, workers=1, **options).read([torch.arange(1)] * 2))
