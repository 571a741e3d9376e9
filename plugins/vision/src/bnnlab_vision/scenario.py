"""The base class of the scenarios."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch

from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab.markers import Above, AtLeast, AtMost, Below
from bnnlab.seeds import permutation
from bnnlab_vision.augmentation import Augment
from bnnlab_vision.datasets import find_source
from bnnlab_vision.preparation import Normalise, Prepared, padded_shape
from bnnlab_vision.source import Source

PERMUTATION = "permutation"
_USUAL = {"augment": "none", "normalise": True, "side": None, "labelled": 1.0, "label_noise": 0.0}
"""Defaults that the protocol leaves out."""


class Scenario(TaskStream):
    """A stream of tasks over prepared data sets.

    Args:
        datasets: The data sets, by name or as sources.
        tasks: Number of tasks.
        options: Further entries of the protocol.
        data: Folder of the data sets.
        device: Device of the inputs.
        seed: Chooses the held-out images.
        validation: Share of the training data that is held out for validation. The test data are
            never used for this.
        unknown: Images of no task, for out-of-distribution detection: a data set of the same shape.
            permutation: the test images in a pixel order of their own.
        augment: Random changes of training images. cifar: shifts by up to 4 pixels and mirroring
            (He et al. 2016). cifar-edge: the same, padded with edge pixels instead of black ones
            (Laydevant et al. 2021). imagenet: random crops, enlarged, and mirroring (Szegedy et al.
            2015).
        normalise: Whether inputs are normalised per channel by the mean and standard deviation of
            the training data. false: they are pixels in [0, 1]. signed: in [-1, 1].
        side: Side of an image in pixels: smaller images get a black border (USPS beside MNIST in
            Laborieux et al. 2021). none: images are as published.
        labelled: Share of the training images of each class that is kept; at least one image is.
            The seed chooses them. It is `label_perc` of mammoth (Buzzega et al. 2020).
        label_noise: Share of the training images of each class whose label becomes another one,
            each of the others equally often: `noise_rate` of mammoth. The seed chooses them. Test
            and validation images keep their labels.

    Attributes:
        scenario: Its name in the protocol.
        permutes: Whether tasks change the order of the pixels.
        learned: The labels of the classes that are learned, sorted; None for all.

    Raises:
        UsageError: If there is no task, or the unknown data set is one of the tasks' or has another
            shape.
        DataError: If a data set is damaged or missing.
    """

    scenario: ClassVar[str]
    permutes: ClassVar[bool] = False
    learned: Sequence[int] | None = None

    def __init__(
        self,
        *,
        datasets: Sequence[str | Source],
        tasks: int,
        options: Mapping[str, Any],
        data: Path,
        device: torch.device,
        seed: int,
        validation: Annotated[float, AtLeast(0), Below(1)] = 0.0,
        unknown: str = PERMUTATION,
        augment: Augment = "none",
        normalise: Normalise = True,
        side: Annotated[int | None, AtLeast(1)] = None,
        labelled: Annotated[float, Above(0), AtMost(1)] = 1.0,
        label_noise: Annotated[float, AtLeast(0), AtMost(1)] = 0.0,
    ) -> None:
        if tasks < 1:
            raise UsageError(f"tasks: {tasks} must be at least 1.")
        sources = [find_source(each) for each in datasets]
        self.input_shape = padded_shape(sources[0], side)
        self.classes = len(self.learned or range(max(source.classes for source in sources)))
        self._tasks = tasks
        self._unknown, self._data, self._seed, self._side = unknown, data, seed, side
        ways: dict[str, Any] = {
            "augment": augment,
            "normalise": normalise,
            "side": side,
            "labelled": float(labelled),
            "label_noise": float(label_noise),
        }
        changed = {name: value for name, value in ways.items() if value != _USUAL[name]}
        self._options = {**options, "validation": float(validation), **changed}
        if unknown != PERMUTATION:
            self._options["unknown"] = unknown
            self._check_unknown(sources)
        shared = {"data": data, "device": device, "seed": seed, "validation": validation, **ways}
        self._prepared = [Prepared(source, among=self.learned, **shared) for source in sources]
        if len(sources) == 1:  # else a label has another meaning in each
            self.class_names = self._prepared[0].class_names

    def _check_unknown(self, sources: Sequence[Source]) -> None:
        name = self._unknown
        if not self.permutes and name in {source.name for source in sources}:
            raise UsageError(f"unknown: the tasks are made of {name}; choose another.")
        shape = padded_shape(find_source(name), self._side)
        if shape != self.input_shape:
            raise UsageError(
                f"unknown: images of {name} have shape {shape}, but those of the tasks have "
                f"{self.input_shape}."
            )

    def __len__(self) -> int:
        return self._tasks

    def __getitem__(self, index: int) -> Task:
        return self._make(range(self._tasks)[index])

    @abstractmethod
    def _make(self, index: int) -> Task:
        """Return the task at `index`, which is in range."""

    def out_of_distribution(self) -> Examples:
        """Return test images of no task, normalised like the first data set of the stream."""
        known = self._prepared[0].test
        device = known.rows.device
        if self._unknown == PERMUTATION:
            order = permutation(math.prod(self.input_shape), self._seed, "unknown")
            return replace(known, permutation=order.to(device))
        source = find_source(self._unknown)
        other = Prepared(source, data=self._data, device=device, seed=self._seed, side=self._side)
        return replace(other.test, mean=known.mean, std=known.std)

    def protocol(self) -> dict[str, Any]:
        """Return the scenario, the data sets with digests and sizes, and the options.

        Options that all scenarios have are left out if they have their defaults, but `validation`.
        """
        return {
            "scenario": self.scenario,
            "data": [each.describe() for each in self._prepared],
            **self._options,
        }
