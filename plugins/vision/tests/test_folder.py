import hashlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bnnlab.errors import DataError, UsageError
from bnnlab.interfaces.examples import Examples, StoredImages
from bnnlab.interfaces.stream import protocol_hash
from bnnlab_vision import folder as folder_module
from bnnlab_vision.decoding import DARK, decode
from bnnlab_vision.folders import (
    FolderChunked,
    FolderPermuted,
    FolderRotated,
    FolderSingle,
    FolderSplit,
    TinyImageNet,
)
from bnnlab_vision.scenario import Scenario

EACH = pytest.mark.parametrize("kind", [FolderSingle, FolderPermuted, FolderSplit, FolderChunked])
# Python 3.12 and later warn of every fork of a process with threads.
FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
Kind = Callable[..., Scenario]


def make(kind: Kind, data: Path, folder: str = "parted", seed: int = 0, **options: Any) -> Scenario:
    options = {"image_size": 8, "workers": 0, **options}
    if kind in (FolderPermuted, FolderSplit, FolderChunked, TinyImageNet):
        options = {"tasks": 2, **options}
    return kind(data=data, device=torch.device("cpu"), seed=seed, folder=folder, **options)


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))


def shown(examples: Examples) -> list[tuple[bytes, int]]:
    pixels, labels = examples.raw(torch.arange(len(examples)))
    return [(image.numpy().tobytes(), int(y)) for image, y in zip(pixels, labels, strict=True)]


def expected(root: Path, names: list[str], classes: str = "abcd") -> list[tuple[bytes, int]]:
    """Return what a plain reading of these files shows, at 8 pixels."""
    found = []
    for name in names:
        pixels = decode((root / name).read_bytes(), 8, grey=False).pixels
        found.append((pixels.numpy().tobytes(), classes.index(Path(name).parent.name)))
    return found


@pytest.fixture
def own(image_folders: Path, tmp_path: Path) -> Path:
    """Return a data folder that a test may change."""
    return Path(shutil.copytree(image_folders, tmp_path / "data"))


# ---------------------------------------------------------------------------- reading


def test_an_image_is_resized_by_its_shorter_side_and_its_centre_cut_out(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = [200, 100, 50]
    Image.fromarray(wide).save(tmp_path / "wide.png")
    content = (tmp_path / "wide.png").read_bytes()
    whole = decode(content, 10, grey=False).pixels
    assert torch.equal(whole, torch.from_numpy(wide[:, 10:20]).permute(2, 0, 1))
    grey = decode(content, 4, grey=True).pixels
    assert grey.shape == (1, 4, 4)
    assert grey[0, 2, 2] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert decode(content, 4, grey=False).pixels.shape == (3, 4, 4)


@pytest.mark.parametrize("grey", [False, True])
def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path, grey: bool) -> None:
    values = np.array([[0, 128], [129, 65535]])
    for dtype, file in (
        ("<u2", "16.png"),
        ("<u2", "16.tif"),
        (">u2", "16b.tif"),
        ("<i4", "32.tif"),
    ):
        Image.fromarray(values.astype(dtype)).save(tmp_path / file)
        pixels, remarks = decode((tmp_path / file).read_bytes(), 2, grey)
        assert torch.equal(pixels, torch.tensor([[0, 0], [1, 255]]).expand_as(pixels))
        assert remarks == ()


@pytest.mark.parametrize(("largest", "said"), [(0, ()), (1, (DARK,)), (4095, (DARK,)), (4096, ())])
def test_sixteen_bits_that_are_not_used_are_remarked(
    tmp_path: Path, largest: int, said: tuple[str, ...]
) -> None:
    Image.fromarray(np.full((2, 2), largest, dtype=np.uint16)).save(tmp_path / "16.png")
    assert decode((tmp_path / "16.png").read_bytes(), 2, grey=True).remarks == said


@pytest.mark.parametrize("value", [np.float32(0.5), np.int32(-1), np.int32(65536)])
def test_values_of_unknown_range_are_refused(tmp_path: Path, value: np.generic) -> None:
    Image.fromarray(np.full((4, 4), value)).save(tmp_path / "odd.tiff")
    with pytest.raises(ValueError, match="are not of 8 or 16 bits"):
        decode((tmp_path / "odd.tiff").read_bytes(), 4, grey=True)


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_a_folder_with_a_test_part_is_taken_as_it_is(own: Path, test: str) -> None:
    (own / "parted" / "val").rename(own / "parted" / test)
    (task,) = make(FolderSingle, own)
    root = own / "parted"
    assert shown(task.train) == expected(root / "train", files(root / "train"))
    assert shown(task.test) == expected(root / test, files(root / test))
    assert "test_share" not in make(FolderSingle, own).protocol()["data"][0]


def test_a_folder_without_one_gives_a_share_of_every_class_by_the_seed(own: Path) -> None:
    tests = []
    for seed in (0, 0, 1):
        (task,) = make(FolderSingle, own, "whole", seed, test_share=0.32)
        assert sorted(shown(task.train) + shown(task.test)) == sorted(
            expected(own / "whole", files(own / "whole"))
        )
        counts = torch.bincount(task.test.labels[task.test.rows])
        assert counts.tolist() == [3] * 4
        tests.append(task.test.rows.tolist())
    assert tests[0] == tests[1] != tests[2]
    protocols = [
        make(FolderSingle, own, "whole", seed, test_share=0.32).protocol() for seed in (0, 1)
    ]
    assert protocols[0] == protocols[1]
    assert protocols[0]["data"][0]["test_share"] == 0.32


def test_a_training_part_alone_is_shared_out_too(own: Path) -> None:
    shutil.rmtree(own / "parted" / "val")
    (task,) = make(FolderSingle, own)
    assert (len(task.train), len(task.test)) == (20, 4)


def test_the_digest_is_of_names_and_contents_wherever_the_folder_is(own: Path) -> None:
    def digest() -> str:
        return str(make(FolderSingle, own).protocol()["data"][0]["digest"])

    root = own / "parted"
    text = "".join(
        f"{name}\0{hashlib.sha256((root / name).read_bytes()).hexdigest()}\n"
        for name in files(root)
    )
    before = digest()
    assert before == hashlib.sha256(text.encode()).hexdigest()[:16]
    shutil.copy(root / "train" / "a" / "0.png", root / "train" / "a" / "1.png")
    changed = digest()
    (root / "train" / "a" / "1.png").rename(root / "train" / "a" / "9.png")
    assert len({before, changed, digest()}) == 3


def test_the_protocol_says_what_was_made_of_the_images(image_folders: Path) -> None:
    variants = [{}, {"image_size": 9}, {"grey": True}, {"augment": "cifar"}, {"folder": "whole"}]
    streams = [make(FolderSingle, image_folders, **each) for each in variants]
    assert len({protocol_hash(stream.protocol()) for stream in streams}) == len(variants)
    assert streams[1].input_shape == (3, 9, 9)
    assert streams[2].input_shape == (1, 8, 8)
    assert str(image_folders) not in str(streams[0].protocol())


# ---------------------------------------------------------------------------- in memory or not


def seen(stream: Scenario) -> list[torch.Tensor]:
    """Return what training and evaluation are shown, in every task."""
    found = []
    for task in stream:
        order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(1))
        draws = torch.Generator().manual_seed(2)
        found += [x for batch in task.train.batches(3, order, draws) for x in batch]
        for part in (task.test, task.validation):
            found += [] if part is None else part.batch(torch.arange(len(part)))
    return found


@FORKS
@pytest.mark.parametrize(
    ("kind", "workers"),
    [(FolderSingle, 0), (FolderPermuted, 2), (FolderSplit, 0), (FolderChunked, 0)],
)
def test_reading_anew_shows_what_memory_shows_whoever_reads(
    kind: Kind, workers: int, image_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bnnlab.interfaces.examples.PIECE", 4 * 192
    )  # so that several pieces are read
    monkeypatch.setattr("bnnlab.interfaces.examples.LOOKED_UP_TOGETHER", 5)
    options = {"folder": "whole", "validation": 0.1, "augment": "cifar"}
    held = make(kind, image_folders, in_memory="always", **options)
    read = make(kind, image_folders, in_memory="never", workers=workers, **options)
    assert isinstance(held[0].train.pixels, torch.Tensor)
    assert isinstance(read[0].train.pixels, StoredImages)
    assert read.protocol() == held.protocol()
    before = torch.get_rng_state()
    for one, other in zip(seen(held), seen(read), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_too_large_is_not_held(
    image_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, held in ((36 * 192, True), (36 * 192 - 1, False)):
        monkeypatch.setattr(folder_module, "IN_MEMORY_BYTES", limit)
        pixels = make(FolderSingle, image_folders)[0].train.pixels
        assert isinstance(pixels, torch.Tensor) is held
        assert tuple(pixels.shape) == (36, 3, 8, 8)


def test_the_statistics_are_of_a_sample_of_the_training_images(
    image_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = make(FolderSingle, image_folders)
    pixels, _ = task.train.raw(torch.arange(24))
    torch.testing.assert_close(task.test.mean[:, 0, 0], pixels.float().mean((0, 2, 3)))
    torch.testing.assert_close(
        task.test.std[:, 0, 0], pixels.float().transpose(0, 1).flatten(1).std(1, correction=0)
    )
    monkeypatch.setattr(folder_module, "STATISTICS_IMAGES", 7)
    sampled = [make(FolderSingle, image_folders, seed=seed)[0].train.mean for seed in (0, 1)]
    assert torch.equal(*sampled)
    assert not torch.equal(sampled[0], task.train.mean)


@EACH
@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_images_that_are_not_normalised_are_pixels_between_zero_and_one(
    kind: Kind, in_memory: str, image_folders: Path
) -> None:
    stream = make(kind, image_folders, in_memory=in_memory, normalise=False)
    assert stream.protocol() == {**make(kind, image_folders).protocol(), "normalise": False}
    unknown = stream.out_of_distribution()
    assert unknown is not None
    for part in (stream[1 % len(stream)].train, stream[0].test, unknown):
        at = torch.arange(len(part))
        assert torch.equal(part.batch(at)[0], part.raw(at)[0] / 255)


def test_an_image_that_vanishes_is_named(own: Path) -> None:
    (task,) = make(FolderSingle, own, in_memory="never")
    (own / "parted" / "train" / "b" / "2.png").unlink()
    with pytest.raises(DataError, match=r"b/2\.png cannot be read any more: FileNotFoundError"):
        list(task.train.batches(4))


# ---------------------------------------------------------------------------- what is wrong


def damage(root: Path, count: int = 1) -> list[str]:
    """Empty an image, cut another short, write text to the third, and so on."""
    names = files(root)[2 : 2 + count]
    for number, name in enumerate(names):
        content = (root / name).read_bytes()
        (root / name).write_bytes([content[: len(content) // 2], b"", b"text"][number % 3])
    return names


@FORKS
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_corrupt_images_are_refused_by_name(own: Path, workers: int, in_memory: str) -> None:
    names = damage(own / "whole", 7)
    with pytest.raises(DataError) as caught:
        make(FolderSingle, own, "whole", workers=workers, in_memory=in_memory)
    message = str(caught.value)
    assert message.startswith(f"7 of 40 images in {own / 'whole'} cannot be read: a/2.png (")
    assert all(name in message for name in names[:5])
    assert not any(name in message for name in names[5:])
    assert message.endswith(
        ", and 2 more. Mend or delete them, or leave them out with corrupt=skip."
    )


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_corrupt_images_are_skipped_named_and_counted(
    own: Path, in_memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = damage(own / "whole", 7)
    options = {"corrupt": "skip", "in_memory": in_memory, "test_share": 0.5}
    with caplog.at_level(logging.WARNING):
        stream = make(FolderSingle, own, "whole", **options)
    (record,) = caplog.records
    assert record.name.startswith("bnnlab.")
    assert all(f"{name} (" in record.getMessage() for name in names)
    task, found = stream[0], stream.protocol()
    assert found["data"][0]["left_out"] == 7
    assert found == make(FolderSingle, own, "whole", seed=1, **options).protocol()
    for name in names:
        (own / "whole" / name).unlink()
    without = make(FolderSingle, own, "whole", **options)
    assert shown(without[0].train) == shown(task.train)
    assert shown(without[0].test) == shown(task.test)
    found["data"][0]["left_out"] = 0
    assert without.protocol() == found


def test_a_class_of_which_nothing_is_left_is_named(own: Path) -> None:
    damage(own / "parted" / "train" / "c", 4)
    for name in files(own / "parted" / "train" / "c")[:2]:
        (own / "parted" / "train" / "c" / name).unlink()
    with pytest.raises(DataError, match="has no image of class 'c' to learn from"):
        make(FolderSingle, own, corrupt="skip")


def test_other_classes_in_the_test_part_are_named(own: Path) -> None:
    (own / "parted" / "val" / "b").rename(own / "parted" / "val" / "x")
    with pytest.raises(DataError, match=r"val must have .*Missing: b\. Not in train: x\."):
        make(FolderSingle, own)


def test_a_class_without_images_is_named(own: Path) -> None:
    (own / "whole" / "empty").mkdir()
    with pytest.raises(DataError, match=r"whole is not a folder of images.*empty"):
        make(FolderSingle, own, "whole")


@pytest.mark.parametrize("folder", ["nowhere", "whole/a", "whole/a/0.png"])
def test_what_is_no_folder_of_classes_is_named(image_folders: Path, folder: str) -> None:
    with pytest.raises(DataError, match=f"{image_folders / folder} is not a folder of images"):
        make(FolderSingle, image_folders, folder)


def test_a_folder_of_the_working_folder_is_refused_with_its_absolute_path(
    image_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my images").mkdir()
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "my images"
    with pytest.raises(
        UsageError, match=f"'stream.folder={here}'; in Python, \"folder\": '{here}'$"
    ):
        make(FolderSingle, image_folders, "my images")


def test_it_says_what_was_done_to_an_image(image_folders: Path) -> None:
    stream = make(FolderSingle, image_folders, image_size=7, grey=True)
    assert stream[0].test.prepared == (
        "in grey",
        "turned upright as their EXIF says",
        "the shorter side resized to 7 pixels with antialiasing, the centre cut out",
    )
    turned = make(FolderRotated, image_folders, angles=[30], exif=False)
    assert turned[0].test.prepared[1] == "turned counter-clockwise by 30 degrees"


@EACH
def test_classes_are_called_as_their_folders(kind: Kind, image_folders: Path) -> None:
    assert [*make(kind, image_folders).class_names] == [*"abcd"]


def test_a_single_class_is_refused(own: Path) -> None:
    for name in "bcd":
        shutil.rmtree(own / "whole" / name)
    with pytest.raises(DataError, match="needs at least two classes and has 1"):
        make(FolderSingle, own, "whole")


def test_one_image_per_class_leaves_nothing_to_test_on(own: Path) -> None:
    for name in files(own / "whole"):
        if not name.endswith("/0.png"):
            (own / "whole" / name).unlink()
    with pytest.raises(DataError, match="has one image per class, and no test part"):
        make(FolderSingle, own, "whole")


def test_a_test_part_without_classes_is_not_passed_over(own: Path) -> None:
    shutil.rmtree(own / "parted" / "val")
    (own / "parted" / "test").mkdir()
    shutil.copy(own / "whole" / "a" / "0.png", own / "parted" / "test")
    with pytest.raises(DataError, match=r"test must have one folder per class, and has images"):
        make(FolderSingle, own)


def test_a_link_that_leads_round_is_named(own: Path) -> None:
    (own / "whole" / "b" / "again").symlink_to(own / "whole" / "b", target_is_directory=True)
    with pytest.raises(DataError, match=r"b/again is a link to .*: remove the link"):
        make(FolderSingle, own, "whole")


def test_a_folder_must_be_given_and_may_be_absolute(image_folders: Path) -> None:
    with pytest.raises(UsageError, match=r"folder: say.*--set stream\.folder=PATH; in Python, "):
        make(FolderSingle, image_folders, "")
    stream = make(FolderSingle, Path("elsewhere"), str(image_folders / "parted"))
    assert stream.protocol() == make(FolderSingle, image_folders).protocol()


def test_a_split_that_does_not_divide_the_classes_is_refused(image_folders: Path) -> None:
    with pytest.raises(UsageError, match=r"3 does not divide the 4 classes of image-folder"):
        make(FolderSplit, image_folders, tasks=3)


def test_a_split_of_a_folder_chooses_a_number_that_divides(image_folders: Path) -> None:
    assert [task.name for task in make(FolderSplit, image_folders)] == [
        "classes 0-1",
        "classes 2-3",
    ]


# ---------------------------------------------------------------------------- the classes' order


def lay_out(own: Path, order: str) -> None:
    """Turn a folder of classes into Tiny-ImageNet's layout, with images in folders below them."""
    (own / "whole").rename(own / "train")
    (own / "whole").mkdir()
    (own / "train").rename(own / "whole" / "train")
    for name in "abcd":
        folder = own / "whole" / "train" / name
        (folder / "images").mkdir()
        for file in folder.glob("*.png"):
            file.rename(folder / "images" / file.name)
    (own / "whole" / "wnids.txt").write_text(order)


def test_a_file_says_the_order_of_the_classes(own: Path) -> None:
    lay_out(own, "c\na\n\nd\nb\n")
    root = own / "whole" / "train"
    ordered = make(TinyImageNet, own, "whole", class_order="../wnids.txt", tasks=2)
    plain = make(FolderSplit, own, "whole/train", tasks=2)
    for index, classes in enumerate(("ca", "db")):
        task = ordered[index]
        found = [*shown(task.train), *shown(task.test)]
        names = [f.relative_to(root).as_posix() for c in classes for f in (root / c).rglob("*.png")]
        wanted = [
            (decode((root / name).read_bytes(), 8, grey=False).pixels.numpy().tobytes(),
             "cadb".index(name[0]))
            for name in names
        ]  # fmt: skip
        assert sorted(found) == sorted(wanted)
    assert protocol_hash(ordered.protocol()) != protocol_hash(plain.protocol())


def test_an_order_that_is_none_of_the_classes_is_refused(own: Path) -> None:
    lay_out(own, "a\nb\nc\ne")
    file = own / "whole" / "wnids.txt"
    with pytest.raises(DataError, match=r"each of the 4 classes once; wrong: d, e"):
        make(TinyImageNet, own, "whole", class_order="../wnids.txt")
    file.write_text("a\nb\nc\nd\na")
    with pytest.raises(DataError, match="wrong: one of them twice"):
        make(TinyImageNet, own, "whole", class_order="../wnids.txt")
    file.write_text("a\nb c\nd\na")  # a name may have spaces
    with pytest.raises(DataError, match="wrong: b, b c, c"):
        make(TinyImageNet, own, "whole", class_order="../wnids.txt")
    file.write_text("\n")
    with pytest.raises(DataError, match="each of the 4 classes once; wrong: a, b, c, d"):
        make(TinyImageNet, own, "whole", class_order="../wnids.txt")
    file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        make(TinyImageNet, own, "whole", class_order="../wnids.txt")


def test_where_tiny_imagenet_is_looked_for_is_said(own: Path) -> None:
    with pytest.raises(DataError, match=r"read from .*nowhere/train, .* unpack the archive"):
        make(TinyImageNet, own, "nowhere")


def test_the_data_folder_may_be_relative(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    lay_out(own, "c\na\nd\nb\n")
    options: dict[str, Any] = {"class_order": "../wnids.txt", "tasks": 2}
    one, other = (make(TinyImageNet, data, "whole", **options) for data in (Path(own.name), own))
    assert one.protocol() == other.protocol()
