"""The scenarios over a folder of images."""

from pathlib import Path
from typing import Annotated, Any

from bnnlab.errors import DataError, UsageError
from bnnlab.markers import Above, AtLeast, Below
from bnnlab_vision.copies import Copies
from bnnlab_vision.folder import Corrupt, Folder, InMemory
from bnnlab_vision.placing import placed
from bnnlab_vision.scenario import Scenario
from bnnlab_vision.scenarios import Chunked, Permuted, Rotated, Single, Split
from bnnlab_vision.splitting import USUAL


class OverFolder(Scenario):
    """Makes a folder of images the data set of the scenario that it is mixed into.

    Args:
        data: The data folder.
        folder: Folder of images, absolute or in the data folder; needed.
        class_order: Text file with the classes' names in order, one per line; absolute or in the
            folder. Empty: classes are sorted by name.
        image_size: Side of an image in pixels. The shorter side is resized to it, and the centre is
            cut out.
        grey: Whether images have one channel instead of three.
        exif: Whether images are rotated and mirrored by their EXIF orientation.
        test_share: Share of the images of each class that becomes the test part, if the folder has
            no test or validation part.
        in_memory: Whether decoded images are kept in memory. auto: if they take at most 4 GiB.
        workers: Processes that read and decode images. 0: the main process does it.
        corrupt: Files that cannot be read. refuse: the run is refused. skip: they are left out.
            Both name the files.
        copies: Images of the test or validation part that are also training images. warn: a
            warning names them. refuse: the run is refused. More than half of the test part is
            always refused.
        given: Of the scenario.

    Raises:
        UsageError: If no folder is given, or one of the working folder.
    """

    def __init__(
        self,
        *,
        data: Path,
        folder: str = "",
        class_order: str = "",
        image_size: Annotated[int, AtLeast(1)] = 64,
        grey: bool = False,
        exif: bool = True,
        test_share: Annotated[float, Above(0), Below(1)] = 0.2,
        in_memory: InMemory = "auto",
        workers: Annotated[int, AtLeast(0)] = 2,
        corrupt: Corrupt = "refuse",
        copies: Copies = "warn",
        **given: Any,
    ) -> None:
        if not folder:
            raise UsageError(
                "folder: say which folder of images, absolute or below the data folder: "
                '--set stream.folder=PATH; in Python, "folder": PATH in the table of the stream.'
            )
        source = Folder(
            root=placed(data, "folder", folder),
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


class FolderSingle(OverFolder, Single):
    """The scenario `Single` over a folder of images."""


class FolderPermuted(OverFolder, Permuted):
    """The scenario `Permuted` over a folder of images."""


class FolderRotated(OverFolder, Rotated):
    """The scenario `Rotated` over a folder of images."""


class FolderSplit(OverFolder, Split):
    """The scenario `Split` over a folder of images.

    Args:
        given: Of the folder and the scenario.
    """

    def __init__(self, *, tasks: Annotated[int | None, AtLeast(1)] = None, **given: Any) -> None:
        super().__init__(tasks=tasks, **given)


class FolderChunked(OverFolder, Chunked):
    """The scenario `Chunked` over a folder of images."""


class TinyImageNet(FolderSplit):
    """The training images of Tiny-ImageNet, 200 classes of 500 images, 64x64 pixels.

    The order of the classes is in the archive's file `wnids.txt`, so `class_order` should be
    `../wnids.txt`. The archive's test part has no labels, and its `val` is not laid out by class.
    Both are ignored; a share of each class is used for test.

    Args:
        data: The data folder.
        folder: The unpacked archive, absolute or in the data folder.
        tasks: Number of tasks. It must divide 200.
        given: Options of `FolderSplit`.

    Raises:
        DataError: If the archive's folder `train` is missing.
    """

    def __init__(
        self,
        *,
        data: Path,
        folder: str = "tiny-imagenet-200",
        tasks: Annotated[int, AtLeast(1)] = USUAL,
        **given: Any,
    ) -> None:
        train = placed(data, "folder", folder) / "train"
        if not train.is_dir():
            raise DataError(
                f"Tiny-ImageNet is read from {train}, which is not there: unpack the archive "
                "tiny-imagenet-200 into the data folder, or say where it is with "
                '--set stream.folder=PATH; in Python, "folder": PATH'
            )
        super().__init__(data=data, folder=str(train), tasks=tasks, **given)
