"""Features of images, computed beforehand: `bnn extract-features` writes their file."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from bnnlab.errors import DataError, UsageError, first_line
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.keeping import kept
from bnnlab.markers import AtLeast
from bnnlab_vision.placing import placed
from bnnlab_vision.scenario import Scenario
from bnnlab_vision.scenarios import Chunked, Permuted, Single, Split
from bnnlab_vision.source import Dataset, Source

ARRAYS = ("train_x", "train_y", "test_x", "test_y")
IMAGE = "train_image"


class Features(Source):
    """A NumPy file (npz) of features.

    It holds `train_x` and `test_x`, real (N, F); `train_y` and `test_y`, labels from 0, (N,); if
    wanted `class_names`, texts (K,), and `about`, a text in JSON that the protocol repeats. If
    several rows are of one image, `train_image` has the number of each row's image, (N,).

    Args:
        file: The file.

    Raises:
        DataError: If it is missing, or is no such file.
    """

    name = "features"
    white = 1

    def __init__(self, file: Path) -> None:
        self._file = file
        arrays = _read(file)
        self.shape = arrays["train_x"].shape[1:]
        self._names = arrays["class_names"].tolist() if "class_names" in arrays else []
        self.classes = len(self._names) or 1 + int(arrays["train_y"].max())

    def load(self, data: Path, device: torch.device, seed: int) -> Dataset:  # noqa: ARG002
        """Return the features, normalised one by one by those of the training part."""
        arrays = _read(self._file)
        if max(arrays["train_y"].max(), arrays["test_y"].max()) >= self.classes:
            raise DataError(f"{self._file}: a label is beyond 0 to {self.classes - 1}.")
        image = arrays.get(IMAGE)
        digest = hashlib.sha256(b"".join(arrays[name].tobytes() for name in ARRAYS))
        digest.update(b"" if image is None else image.tobytes())
        wide = arrays["train_x"].astype(np.float64)
        mean, std = wide.mean(0), wide.std(0)
        std[std == 0] = 1.0
        shift, scale = (torch.from_numpy(each).float().to(device) for each in (mean, std))

        def part(name: str) -> Examples:
            x, y = (torch.from_numpy(arrays[f"{name}_{it}"]).to(device) for it in "xy")
            return Examples(x, y, torch.arange(len(y), device=device), shift, scale)

        about = {"about": json.loads(str(arrays["about"]))} if "about" in arrays else {}
        known = digest.hexdigest()[:16]
        return Dataset(
            part("train"),
            part("test"),
            known,
            about,
            class_names=self._names,
            image=None if image is None else torch.from_numpy(image).to(device),
        )


@kept
def _read(file: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file of features, checked: features float32, labels int64."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        _check(arrays)
    except Exception as error:  # a damaged file breaks a parser in any way
        raise DataError(
            f"{file} is no file of features: {first_line(error)}. `bnn extract-features` writes "
            f"one, with the arrays {', '.join(ARRAYS)}."
        ) from error
    return arrays


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Give the arrays their types, in place.

    Raises:
        KeyError: If one is missing.
        ValueError: With what is wrong with one.
    """
    for name in (*ARRAYS, *({IMAGE} & arrays.keys())):
        said, is_x = arrays[name], name.endswith("x")
        if said.ndim != 1 + is_x or not len(said):
            raise ValueError(f"{name} has shape {said.shape}")
        with np.errstate(all="ignore"):  # what it warns of is refused below
            arrays[name] = np.ascontiguousarray(said, "<f4" if is_x else "<i8")
        if not (np.isfinite(arrays[name]).all() if is_x else np.array_equal(arrays[name], said)):
            raise ValueError(f"{name} holds numbers that are not {'finite' if is_x else 'whole'}")
    for one, other in (("train_x", "train_y"), ("test_x", "test_y"), ("train_x", IMAGE)):
        if other in arrays and len(arrays[one]) != len(arrays[other]):
            raise ValueError(f"{one} and {other} differ in length")
    if arrays["train_x"].shape[1] != arrays["test_x"].shape[1]:
        raise ValueError("train_x and test_x differ in the number of features")
    if min(arrays["train_y"].min(), arrays["test_y"].min()) < 0:
        raise ValueError("a label is below 0")
    names = arrays.get("class_names", np.array(["text"]))
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError("class_names is no list of texts")
    about = json.loads(str(arrays.get("about", "{}")))
    if isinstance(about, dict) and about.get("passes", 1) != 1 and IMAGE not in arrays:
        raise ValueError(f"several rows are of one image, and {IMAGE} is missing: write it again")


class OverFeatures(Scenario):
    """Makes a file of features the data set of the scenario that it is mixed into.

    Args:
        data: The data folder.
        file: File of features (npz), absolute or in the data folder; needed.
        given: Of the scenario.

    Raises:
        UsageError: If no file is given, or one of the working folder, or features are to be
            augmented.
    """

    def __init__(self, *, data: Path, file: str = "", **given: Any) -> None:
        if not file:
            raise UsageError(
                "file: say which file of features, absolute or below the data folder: "
                "--set stream.file=PATH. `bnn extract-features` writes one."
            )
        if given.get("augment", "none") != "none":
            raise UsageError("augment: features are no images. Give extract-features --passes.")
        super().__init__(**{**given, "data": data, "dataset": Features(placed(data, "file", file))})


class FeaturesSingle(OverFeatures, Single):
    """The scenario `Single` over features."""


class FeaturesPermuted(OverFeatures, Permuted):
    """The scenario `Permuted` over features."""


class FeaturesSplit(OverFeatures, Split):
    """The scenario `Split` over features.

    Args:
        given: Of the file and the scenario.
    """

    def __init__(self, *, tasks: Annotated[int | None, AtLeast(1)] = None, **given: Any) -> None:
        super().__init__(tasks=tasks, **given)


class FeaturesChunked(OverFeatures, Chunked):
    """The scenario `Chunked` over features."""
