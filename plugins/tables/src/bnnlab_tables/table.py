"""The base class of the streams."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.objectives import CLASSES
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab.markers import AtLeast, Below
from bnnlab.seeds import permutation

DECIMALS = 6
"""Decimals of the numbers, so that they are the same on every machine."""

Rows = tuple[Any, Any]
"""Arrays: inputs (N, F), and targets, classes int64 (N,), or real numbers (N, D)."""


class Table(TaskStream):
    """One task over a table in memory.

    Inputs, and targets that are real numbers, have mean 0 and standard deviation 1 in the training
    part, held-out rows included.

    Args:
        train: Training rows.
        test: Test rows.
        options: Further entries of the protocol.
        device: Device of the inputs.
        seed: Chooses the rows that are held out.
        validation: Share of the training rows that is held out for validation.

    Attributes:
        name: Of the task, and in the protocol.
        objective: What the targets are.
    """

    name: ClassVar[str]
    objective: ClassVar[Objective] = CLASSES

    def __init__(
        self,
        train: Rows,
        test: Rows,
        options: Mapping[str, Any],
        *,
        device: torch.device,
        seed: int,
        validation: Annotated[float, AtLeast(0), Below(1)] = 0.0,
    ) -> None:
        x, y = (np.round(np.concatenate(each), DECIMALS) for each in zip(train, test, strict=True))
        digest = hashlib.sha256(x.astype("<f8").tobytes() + y.astype("<f8").tobytes())
        count = len(train[0])
        if y.ndim > 1:
            y = (y - y[:count].mean(0)) / y[:count].std(0)
        order = permutation(count, seed, "validation", self.name)
        held = min(max(1, round(validation * count)), count - 1) if validation else 0
        parts = order[:held].sort().values, order[held:].sort().values, torch.arange(count, len(x))
        pixels = torch.from_numpy(x).float().to(device)
        labels = torch.from_numpy(y if y.ndim == 1 else y.astype(np.float32)).to(device)
        mean, std = (
            torch.from_numpy(each).float().to(device)
            for each in (x[:count].mean(0), x[:count].std(0))
        )
        kept, learned, tested = (
            Examples(pixels, labels, rows.to(device), mean, std) for rows in parts
        )
        self._task = Task(
            0, self.name, learned, tested, kept if held else None, objective=self.objective
        )
        self.input_shape = x.shape[1:]
        self.classes = y.shape[1] if y.ndim > 1 else 1 + int(y.max())
        sizes = {"train": len(learned), "held": held, "test": len(tested)}
        self._protocol = {
            "scenario": self.name,
            "data": {"digest": digest.hexdigest()[:16], **sizes},
            **options,
            "validation": float(validation),
        }

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Task:
        range(1)[index]  # an IndexError, past the last
        return self._task

    def protocol(self) -> dict[str, Any]:
        """Return a digest of all rows, the sizes of the parts, and the options."""
        return self._protocol
