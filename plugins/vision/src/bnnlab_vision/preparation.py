"""A data set divided into training, held-out and test images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task
from bnnlab.seeds import permutation
from bnnlab_vision.augmentation import AUGMENTATIONS, Augment
from bnnlab_vision.source import Source


def _same(examples: Examples) -> Examples:
    return examples


def _none_of(examples: Examples) -> Examples:
    return replace(examples, rows=examples.rows[:0])


class Prepared:
    """A data set whose training part is divided into training and held-out images.

    Attributes:
        source: Its source.
        train: Training images in published order, augmented in training.
        held: Held-out images: the validation part of the data, or a share of the training part
            that the seed chooses; may be empty.
        test: The whole test part.
        class_names: Those of the data set.
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
        normalise: bool = True,
    ) -> None:
        if not 0 <= validation < 1:
            raise UsageError(f"validation: {validation!r} must be at least 0 and below 1.")
        self.source = source
        dataset = source.load(data, device, seed)
        self._digest, self._facts = dataset.digest, dataset.facts
        self.class_names: Sequence[str] = dataset.class_names
        if dataset.held and validation:
            raise UsageError(
                f"validation: {source.name} has a validation part of its own, which is held out; "
                "leave validation out, or move that part away."
            )
        parts = [dataset.train, dataset.test, dataset.held or _none_of(dataset.train)]
        if not normalise:
            mean = torch.zeros_like(dataset.train.mean)
            std = torch.full_like(dataset.train.std, source.white)
            parts = [replace(part, mean=mean, std=std) for part in parts]
        whole, self.test, self.held = parts

        if validation:
            count = len(whole)
            held = min(max(1, round(validation * count)), count - 1)
            order = permutation(count, seed, "validation", source.name).to(device)
            self.held = replace(whole, rows=whole.rows[order[:held].sort().values])
            whole = replace(whole, rows=whole.rows[order[held:].sort().values])
        self.train = replace(whole, augment=AUGMENTATIONS[augment])

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
        """Return name, digest of the content, sizes and facts of the source, in JSON types."""
        return {
            "name": self.source.name,
            "digest": self._digest,
            "train": len(self.train),
            "validation": len(self.held),
            "test": len(self.test),
            **self._facts,
        }
