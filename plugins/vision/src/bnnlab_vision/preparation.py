"""A data set divided into training, held-out and test images."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task
from bnnlab_vision.augmentation import AUGMENTATIONS, Augment
from bnnlab_vision.dividing import places
from bnnlab_vision.labelling import keep_share, with_noise
from bnnlab_vision.names import listed
from bnnlab_vision.source import Source
from bnnlab_vision.view import View

Normalise = bool | Literal["signed"]

log = logging.getLogger("bnnlab.vision")  # below `bnnlab`, which the command line shows


def _same(examples: Examples) -> Examples:
    return examples


def _none_of(examples: Examples) -> Examples:
    return replace(examples, rows=examples.rows[:0])


def padded_shape(source: Source, side: int | None) -> tuple[int, ...]:
    """Return the shape of an image of a source with a border up to `side`.

    Raises:
        UsageError: If the images are larger, or no images.
    """
    if side is None:
        return source.shape
    if len(source.shape) != 3 or side < max(source.shape[1:]):
        raise UsageError(f"side: {side} is too small for {source.name}, which is {source.shape}.")
    return (source.shape[0], side, side)


def _pad(part: Examples, shape: tuple[int, ...]) -> Examples:
    """Return images with a black border of equal width, and its share in mean and deviation.

    With r the old area divided by the new one, the mean of a channel becomes r m, and that of the
    squares r (s² + m²).
    """
    assert part.mean is not None
    assert part.std is not None
    _, *old = part.pixels.shape[1:]
    down, across = (new - size for new, size in zip(shape[1:], old, strict=True))
    border = (across // 2, across - across // 2, down // 2, down - down // 2)

    def change(images: Tensor) -> Tensor:
        return F.pad(images, border)

    pixels = part.pixels
    pixels = change(pixels) if isinstance(pixels, Tensor) else View(pixels, change, shape)
    r = math.prod(old) / math.prod(shape[1:])
    m, s = (each.cpu().double() for each in (part.mean, part.std))
    scale = r * m, (r * (s**2 + m**2) - (r * m) ** 2).sqrt()
    mean, std = (each.float().to(part.rows.device) for each in scale)
    said = f"with a black border up to {shape[1]} x {shape[2]} pixels"
    return replace(part, pixels=pixels, mean=mean, std=std, prepared=(*part.prepared, said))


def _only(part: Examples, among: Sequence[int]) -> Examples:
    """Return the examples of some classes, which are numbered anew in the order of their labels."""
    wanted = torch.tensor(among, device=part.labels.device)
    own = torch.isin(part.labels[part.rows], wanted)
    labels = torch.searchsorted(wanted, part.labels).clamp(max=len(among) - 1)
    return replace(part, rows=part.rows[own], labels=labels)


class Prepared:
    """A data set whose training part is divided into training and held-out images.

    The arguments are those of `bnnlab_vision.scenario.Scenario`; `among`: the labels of the classes
    that are learned, sorted, or None for all.

    Attributes:
        source: Its source.
        train: Training images in published order, augmented in training.
        held: Held-out images: the validation part of the data, or a share of the training part
            that the seed chooses; may be empty.
        test: The whole test part.
        class_names: Those of the data set.
        image: As in `Dataset`: what is held out, kept, mislabelled or divided are images.
    """

    def __init__(
        self,
        source: Source,
        *,
        data: Path,
        device: torch.device,
        seed: int,
        validation: float = 0.0,
        augment: Augment = "none",
        normalise: Normalise = True,
        side: int | None = None,
        labelled: float = 1.0,
        label_noise: float = 0.0,
        among: Sequence[int] | None = None,
    ) -> None:
        if not 0 <= validation < 1:
            raise UsageError(f"validation: {validation!r} must be at least 0 and below 1.")
        self.source = source
        dataset = source.load(data, device, seed)
        self._digest, self._facts = dataset.digest, dataset.facts
        self.image = dataset.image
        self.class_names: Sequence[str] = dataset.class_names
        if dataset.held and validation:
            raise UsageError(
                f"validation: {source.name} has a validation part of its own, which is held out; "
                "leave validation out, or move that part away."
            )
        parts = [dataset.train, dataset.test, dataset.held or _none_of(dataset.train)]
        shape = padded_shape(source, side)
        if shape != source.shape:
            parts = [_pad(part, shape) for part in parts]
        if normalise is not True:
            assert dataset.train.mean is not None
            middle = source.white / 2 if normalise == "signed" else 0
            mean = torch.full_like(dataset.train.mean, middle)
            std = torch.full_like(mean, source.white - middle)
            parts = [replace(part, mean=mean, std=std) for part in parts]
        classes = source.classes
        if among is not None:
            classes = len(among)
            parts = [_only(part, among) for part in parts]
            names = self.class_names or range(source.classes)
            self.class_names = [str(names[each]) for each in among]
        whole, self.test, self.held = parts

        if validation:
            place, count = places(whole.rows, self.image, seed, "validation", source.name)
            if count < 2:
                raise UsageError("validation: there is one image, and none can be held out.")
            held = place < min(max(1, round(validation * count)), count - 1)
            self.held = replace(whole, rows=whole.rows[held])
            whole = replace(whole, rows=whole.rows[~held])
            self._warn_of_unlearned(whole)
        self._sizes = {"train": len(whole), "validation": len(self.held), "test": len(self.test)}
        if labelled < 1:  # how many examples are left depends on the seed
            whole = keep_share(whole, labelled, self.image, seed, "labelled", source.name)
        if label_noise:
            if classes < 2:
                raise UsageError("label_noise: there is one class, and no wrong label.")
            what = "label noise", source.name
            whole = with_noise(whole, label_noise, classes, self.image, seed, *what)
        self.train = replace(whole, augment=AUGMENTATIONS[augment])

    def _warn_of_unlearned(self, left: Examples) -> None:
        held, learned = (torch.unique(part.labels[part.rows]) for part in (self.held, left))
        never = held[~torch.isin(held, learned)].tolist()
        if never:
            names = self.class_names or range(max(never) + 1)
            log.warning(
                "validation: no image is left to learn class %s from",
                listed(str(names[each]) for each in never),
            )

    def task(
        self,
        index: int,
        name: str,
        change: Callable[[Examples], Examples] = _same,
        classes: Tensor | None = None,
    ) -> Task:
        """Return a task with the three parts of the data set, each changed by `change`."""
        held = change(self.held)
        return Task(
            index,
            name,
            train=change(self.train),
            test=change(self.test),
            validation=held if len(held) else None,
            classes=classes,
        )

    def describe(self) -> dict[str, Any]:
        """Return name, digest of the content, sizes and facts of the source, in JSON types.

        The size of the training part is that without `labelled`.
        """
        return {
            "name": self.source.name,
            "digest": self._digest,
            **self._sizes,
            **self._facts,
        }
