"""The scenarios over a folder of images."""

from pathlib import Path
from typing import Any

from bnnlab.engine.building import expand
from bnnlab.errors import DataError, UsageError
from bnnlab_vision.copies import Copies
from bnnlab_vision.folder import Corrupt, Folder, InMemory
from bnnlab_vision.scenario import Scenario
from bnnlab_vision.scenarios import Chunked, Permuted, Single, Split


class _OverFolder(Scenario):
    """Makes a folder the data set of the scenario that it is mixed into; options as in `Folder`.

    Args:
        data: The data folder.
        folder: The folder of images, absolute or in the data folder.
        given: Of the scenario.

    Raises:
        UsageError: If no folder is given.
    """

    def __init__(
        self,
        *,
        data: Path,
        folder: str = "",
        image_size: int = 64,
        grey: bool = False,
        exif: bool = True,
        test_share: float = 0.2,
        in_memory: InMemory = "auto",
        workers: int = 2,
        corrupt: Corrupt = "refuse",
        copies: Copies = "warn",
        class_order: str = "",
        **given: Any,
    ) -> None:
        if not folder:
            raise UsageError(
                "folder: say which folder of images, absolute or below the data folder: "
                "--set stream.folder=PATH."
            )
        source = Folder(
            data / expand(folder),
            image_size=image_size,
            grey=grey,
            exif=exif,
            test_share=test_share,
            in_memory=in_memory,
            workers=workers,
            corrupt=corrupt,
            copies=copies,
            class_order=class_order,
        )
        super().__init__(**{**given, "data": data, "dataset": source})


class FolderSingle(_OverFolder, Single):
    """A folder of images as one task: see `Single` and `bnnlab_vision.folder.Folder`."""


class FolderPermuted(_OverFolder, Permuted):
    """A folder of images, permuted: see `Permuted` and `bnnlab_vision.folder.Folder`."""


class FolderSplit(_OverFolder, Split):
    """The classes of a folder of images: see `Split` and `bnnlab_vision.folder.Folder`."""


class FolderChunked(_OverFolder, Chunked):
    """A folder of images in parts: see `Chunked` and `bnnlab_vision.folder.Folder`."""


class TinyImageNet(FolderSplit):
    """The training images of Tiny-ImageNet, 200 classes of 500 images, 64x64 pixels.

    The file `wnids.txt` of its archive says the order of the classes, for which `class_order` is
    `../wnids.txt`. Its test part has no labels, and its `val` is not laid out by class: neither is
    used, and a share of each class is tested.

    Args:
        data: The data folder.
        folder: The archive, unpacked; absolute or in the data folder.
        given: As in `FolderSplit`.

    Raises:
        DataError: If it is not there.
    """

    def __init__(self, *, data: Path, folder: str = "tiny-imagenet-200", **given: Any) -> None:
        train = data / expand(folder) / "train"
        if not train.is_dir():
            raise DataError(
                f"Tiny-ImageNet is read from {train}, which is not there: unpack the archive "
                "tiny-imagenet-200 into the data folder, or say where it is with "
                "--set stream.folder=PATH"
            )
        super().__init__(data=data, folder=str(train), **given)
