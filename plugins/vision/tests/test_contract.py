from pathlib import Path

import pytest

from bnnlab_testing import StreamContract


class TestPermutedDigits(StreamContract):
    name = "permuted-digits"
    options = {"tasks": 3, "validation": 0.1}


class TestSplitDigits(StreamContract):
    name = "split-digits"


class TestSplitDigitsWithTaskIds(StreamContract):
    name = "split-digits"
    options = {"incremental": "task", "validation": 0.2}


class TestChunkedDigits(StreamContract):
    name = "chunked-digits"
    options = {"augment": "imagenet", "normalise": False}
    waits = 5  # for what is drawn, once for many batches


class TestDigits(StreamContract):
    name = "digits"
    options = {"augment": "cifar-edge", "validation": 0.1}
    waits = 3


class TestSequence(StreamContract):
    name = "sequence"
    options = {"datasets": ["digits"], "task_ids": True}


class FolderContract(StreamContract):
    without_effect = {
        "exif": "no image here is turned",
        "in_memory": "it saves memory",
        "workers": "it saves time",
        "corrupt": "each file can be read",
        "copies": "there are none",
    }

    @pytest.fixture(autouse=True)
    def find_folders(self, image_folders: Path) -> None:
        self.data = str(image_folders)


class PartedContract(FolderContract):
    without_effect = {**FolderContract.without_effect, "test_share": "there is a test part"}


class TestImageFolder(PartedContract):
    name = "image-folder"
    options = {"folder": "parted", "image_size": 8, "workers": 0, "augment": "cifar"}
    waits = 3


class TestPermutedImageFolder(FolderContract):
    name = "permuted-image-folder"
    options = {"folder": "whole", "image_size": 8, "workers": 0, "tasks": 2, "validation": 0.1}


class TestSplitImageFolder(FolderContract):
    name = "split-image-folder"
    options = {
        "folder": "whole",
        "image_size": 8,
        "workers": 0,
        "tasks": 2,
        "incremental": "task",
        "in_memory": "never",
        "augment": "imagenet",
    }
    waits = 8  # three for the images, once for many batches too


class TestImgNet5(PartedContract):
    name = "imgnet-5"
    options = {"folder": "parted", "image_size": 8, "workers": 0, "tasks": 2}

    @pytest.fixture(autouse=True)
    def order(self, image_folders: Path) -> None:
        (image_folders / "parted" / "wnids.txt").write_text("b\nd\na\nc\n")


class TestChunkedImageFolder(PartedContract):
    name = "chunked-image-folder"
    options = {"folder": "parted", "image_size": 8, "workers": 0, "tasks": 3, "grey": True}
