"""What a folder of images is understood to hold, and what is refused in place of a guess."""

import logging
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from bnnlab.cli import main
from bnnlab.errors import DataError, UsageError
from bnnlab_vision.folders import FolderSingle, FolderSplit

LayOut = Callable[..., Path]


def make(root: Path, kind: Any = FolderSingle, **options: Any) -> Any:
    options = {"image_size": 8, "workers": 0, **options}
    device = torch.device("cpu")
    return kind(data=root.parent, device=device, seed=0, folder=str(root), **options)


def counts(root: Path, **options: Any) -> tuple[int, int, int]:
    """Return how many images are learned from, held out and tested."""
    (task,) = make(root, **options)
    return len(task.train), len(task.validation or ()), len(task.test)


def said(caplog: pytest.LogCaptureFixture, level: int) -> str:
    return "\n".join(each.getMessage() for each in caplog.records if each.levelno >= level)


# ---------------------------------------------------------------------------- parts


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training", "testing"),
        ("Train", "Test"),
        ("train_images", "test_images"),
        ("TRAIN", "test"),
        ("train", "valid"),
        ("train", "Test"),
        ("images-train", "images-eval"),
        ("TrainSet", "ValSet"),
        ("train2017", "val2017"),
    ],
)
def test_parts_are_known_by_their_usual_names(lay_out: LayOut, train: str, test: str) -> None:
    root = lay_out(train)
    lay_out(test, count=2)
    stream = make(root)
    (task,) = stream
    assert stream.classes == 2
    assert (len(task.train), len(task.test)) == (8, 4)
    for part, folder in ((task.train, train), (task.test, test)):
        with Image.open(root / folder / "a" / "0.png") as image:
            shade = torch.tensor(image.convert("RGB").resize((1, 1)).getpixel((0, 0)))
        seen = part.raw(torch.tensor([0]))[0].float().mean((0, 2, 3))
        assert (seen - shade).abs().max() < 20


def test_a_validation_part_beside_a_test_part_is_held_out(lay_out: LayOut) -> None:
    root = lay_out("train", "test")
    assert counts(root, validation=0.25) == (6, 2, 8)
    lay_out("val", count=3)
    assert counts(root) == (8, 6, 8)
    (one, other) = make(root, FolderSplit, tasks=2)
    assert len(one.validation) == len(other.validation) == 3
    assert make(root).protocol()["data"][0]["validation"] == 6
    with pytest.raises(UsageError, match="has a validation part of its own"):
        make(root, validation=0.25)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "test", "testing"), "test and testing both look like the test part"),
        (("train", "Train_2", "test"), "both look like the train part"),
        (("train", "val", "valid", "test"), "both look like the validation part"),
        (("train", "extra"), r"train: called like a part, beside .* none \(extra\)"),
        (("train", "test", "cats"), r"beside folders of images that are none \(cats\)"),
        (("test", "val"), "test, val: called like a part, without a train part"),
        (("seg_train", "seg_test"), "not called like classes, but like parts"),
        (("trainA", "testA", "trainB", "testB"), "not called like classes, but like parts"),
        (("fold1", "fold2"), r"hold folders of the same names \(a, b\), as parts do"),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "is called like a part"),
        (("data/train", "data/test"), r"has 1\. Is it .*data that is meant\?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_may_be_parts_or_classes_is_refused(
    lay_out: LayOut, folders: tuple[str, ...], message: str
) -> None:
    root = lay_out(*folders)
    with pytest.raises(DataError, match=message) as caught:
        make(root)
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("name", ["train", "test", "Valid", "validation_images"])
def test_a_class_that_is_called_like_a_part_must_be_named(lay_out: LayOut, name: str) -> None:
    root = lay_out("", classes=[name, "bus"])
    with pytest.raises(DataError, match=r"list them in a file: --set stream\.class_order=FILE"):
        make(root)
    (root / "classes.txt").write_text(f"bus\n{name}\n")
    assert counts(root, class_order="classes.txt") == (6, 0, 2)
    lay_out("", classes=["car", "cycle"])
    with pytest.raises(DataError, match="called like a part"):
        make(root, class_order="classes.txt")


def test_a_class_of_a_part_that_is_called_like_a_part_must_be_named(lay_out: LayOut) -> None:
    root = lay_out("train", "test", classes=["train", "bus"])
    with pytest.raises(DataError, match="train is called like a part, where a class is expected"):
        make(root)
    (root / "classes.txt").write_text("bus\ntrain\n")
    assert counts(root, class_order="classes.txt") == (8, 0, 8)


@pytest.mark.parametrize("flat", ["train", "test", "val"])
@pytest.mark.parametrize("empty", [False, True])
def test_a_part_without_classes_is_refused(lay_out: LayOut, flat: str, empty: bool) -> None:
    root = lay_out(*{"train", "test"} - {flat})
    (root / flat).mkdir()
    if not empty:
        Image.new("RGB", (8, 8)).save(root / flat / "0.png")
    with pytest.raises(DataError, match=f"{flat} must have one folder per class, and has"):
        make(root)


def test_a_part_that_is_another_by_a_link_is_refused(lay_out: LayOut) -> None:
    root = lay_out("train")
    (root / "test").symlink_to(root / "train", target_is_directory=True)
    with pytest.raises(DataError, match=r"which is read already: remove the link"):
        make(root)


def test_a_part_may_lie_elsewhere(lay_out: LayOut) -> None:
    root = lay_out("train", "../else")
    (root / "test").symlink_to(root / ".." / "else", target_is_directory=True)
    assert counts(root) == (8, 0, 8)


# ---------------------------------------------------------------------------- classes


def test_classes_that_differ_in_case_alone_must_be_named(lay_out: LayOut) -> None:
    root = lay_out("", classes=["Cat", "cat"])
    if len(list(root.iterdir())) == 1:
        pytest.skip("names of this disk have no case")
    with pytest.raises(DataError, match="Cat, cat differ in case alone"):
        make(root)
    (root / "classes.txt").write_text("Cat\ncat\n")
    assert counts(root, class_order="classes.txt") == (6, 0, 2)


def test_an_accent_is_one_name_however_it_is_spelled(lay_out: LayOut) -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    root = lay_out("train", classes=[composed, "a"])
    lay_out("test", classes=[decomposed, "a"])
    assert counts(root) == (8, 0, 8)
    before = make(root).protocol()
    (root / "train" / composed).rename(root / "train" / decomposed)
    assert make(root).protocol() == before
    lay_out("train", classes=[composed])
    if len(list((root / "train").iterdir())) == 3:
        with pytest.raises(DataError, match="twice, its name in two spellings"):
            make(root)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_of_one_part_alone_is_refused(lay_out: LayOut, part: str) -> None:
    root = lay_out("train", "test")
    lay_out(part, classes="c")
    with pytest.raises(DataError, match=r"test must have the classes of .*train\. .*: c\."):
        make(root)


def test_a_class_that_is_never_tested_is_warned_of(
    lay_out: LayOut, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay_out("")
    lay_out("", classes="c", count=1)
    assert counts(root) == (7, 0, 2)
    assert "no image is left to test on of class c" in said(caplog, logging.WARNING)


# ---------------------------------------------------------------------------- what is left out


def test_hidden_names_are_passed_over_at_every_level(
    lay_out: LayOut, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay_out("train", "test")
    before = make(root).protocol()
    for folder in (".", "train", "train/a", "test/b"):
        for hidden in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "@Recycle", "$RECYCLE.BIN"):
            lay_out(f"{folder}/{hidden}", count=1)
        for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (root / folder / name).write_bytes(b"no image")
    caplog.clear()
    assert make(root).protocol() == before
    assert not said(caplog, logging.WARNING)


def test_files_that_are_not_used_are_warned_of_by_kind(
    lay_out: LayOut, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay_out("train", "test")
    for number in range(3):
        (root / "train" / "a" / f"{number}.GIF").write_bytes(b"GIF89a")
    (root / "train" / "b" / "portrait").write_bytes(b"")
    (root / "train" / "loose.png").write_bytes(b"")
    (root / "test" / "b" / "notes.txt").write_text("blue")
    (root / "labels.csv").write_text("0,a")
    with caplog.at_level(logging.INFO):
        assert counts(root) == (8, 0, 8)
    warned = said(caplog, logging.WARNING)
    for what in (
        "3 .gif (0.GIF, ...)",
        "1 no suffix (portrait",
        "1 beside the classes (loose.png",
    ):
        assert what in warned
    assert "notes.txt" not in warned  # it is no image, and none is missed
    assert "1 .txt (notes.txt" in said(caplog, logging.INFO)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_what_is_no_regular_file_is_not_waited_for(lay_out: LayOut) -> None:
    from bnnlab_vision.layout import read_layout

    root = lay_out("")
    pipe = root / "a" / "pipe.png"
    os.mkfifo(pipe)
    assert read_layout(root).left_out == {"no regular file": [pipe]}


@pytest.mark.skipif(sys.platform != "linux", reason="such names are Linux's")
def test_names_that_do_not_print_are_written_out(
    lay_out: LayOut, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own record of the log would hold what its processes cannot tell each other.
    monkeypatch.setattr(logging.getLogger("bnnlab"), "propagate", False)
    root = lay_out("", classes=["two\nlines", "\x1b[31mred", "\udcff"])
    (root / "two\nlines" / "\x1b[2J.gif").write_bytes(b"GIF89a")
    words = ["run", "-q", "--stream", "image-folder", "--out", str(root / ".."), "--name", "run"]
    sets = [f"stream.folder={root}", "stream.image_size=8", "stream.workers=0", "model.hidden=[4]"]
    assert main([*words, *(word for each in sets for word in ("--set", each))]) == 0
    assert r"1 .gif (\x1b[2J.gif, ...)" in capsys.readouterr().err
    assert r"two\nlines 4" in (root / ".." / "run" / "log.txt").read_text(encoding="utf-8")


def test_a_class_of_files_that_are_no_images_is_refused(lay_out: LayOut) -> None:
    root = lay_out("")
    (root / "c").mkdir()
    (root / "c" / "0.gif").write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=r"no image in c\. Images end in \.jpg"):
        make(root)


def test_a_suffix_may_be_in_upper_case_and_need_not_be_true(lay_out: LayOut) -> None:
    root = lay_out("")
    (root / "a" / "0.png").rename(root / "a" / "0.JPEG")
    assert counts(root) == (6, 0, 2)


def test_a_folder_that_may_not_be_read_is_refused(
    lay_out: LayOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, scan = lay_out(""), os.scandir

    def forbid(path: Any) -> Any:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", forbid)
    with pytest.raises(DataError, match=r"set/b is not a folder of images: Permission denied"):
        make(root)
