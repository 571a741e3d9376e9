"""Writes of other code into binary weights, detected between two steps of their optimizer."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

SAMPLE = 256
"""Weights of each parameter that are compared at every step: its first rows, at least one row."""


class WriteDetector:
    """Detects what other code writes into binary weights.

    torch counts the writes into each tensor, and `written` reads these counts. torch does not count
    writes through `.data`. For these, `compare` compares the first rows of each weight with what
    `remember` has seen there, on the device and without waiting for it.

    Args:
        weights: The binary parameters, as their optimizer leaves them.

    Attributes:
        weights: As given, without the empty ones.
        paused: Whether the optimizer itself is writing.
        excused: Whether all writes so far are right: another optimizer has made steps for this one.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        self.weights = [weight for weight in dict.fromkeys(weights) if weight.numel()]
        self.paused = self.excused = False
        self._versions = [weight._version for weight in self.weights]
        self._addresses: list[int] = []
        self._samples = [_first_rows(weight) for weight in self.weights]
        self.restart()

    def __reduce__(self) -> tuple[Any, ...]:
        """Make a copy for copied weights."""
        return WriteDetector, (self.weights,)

    def restart(self) -> None:
        """Forget the changes that were found so far."""
        self.excused = False
        # Per sample: the sum of its changes by other code, minus the values last remembered.
        self._changes = [-sample for sample in self._samples]

    def forget(self) -> None:
        """Take every weight as written: nobody knows whether the optimizer's state fits it."""
        self._versions = [-1 for _ in self.weights]

    def moved(self, addresses: list[int]) -> bool:
        """Return whether parameters have other memory than at the last call.

        Args:
            addresses: The `data_ptr` of each parameter.
        """
        if addresses == self._addresses:
            return False
        self._addresses = addresses
        self._samples = [_first_rows(weight) for weight in self.weights]
        self._changes = list(map(Tensor.to, self._changes, self._samples))
        return True

    def written(self) -> list[Tensor]:
        """Return the weights that other code has written, as far as torch counts writes."""
        pairs = zip(self.weights, self._versions, strict=True)
        return [weight for weight, count in pairs if weight._version != count]

    def accept(self) -> None:
        """Take the written weights as right, as they are now."""
        for number, weight in enumerate(self.weights):
            if weight._version != self._versions[number]:
                self._versions[number] = weight._version
                self._changes[number] = -self._samples[number]

    def compare(self) -> None:
        """Add to the changes what differs from the values last remembered."""
        if self.excused:
            self.restart()
        if self.weights:
            torch._foreach_add_(self._changes, self._samples)

    def remember(self) -> None:
        """Remember the weights as they are, after `compare` or a step of the optimizer."""
        self._versions = [weight._version for weight in self.weights]
        if self.weights:
            torch._foreach_sub_(self._changes, self._samples)

    def faults(self, latents: Iterable[Tensor | None]) -> list[Tensor]:
        """Return three numbers per weight, on the device and without waiting for it.

        They are the largest change of its first rows by other code; its largest distance from -1
        and +1; and its smallest product with what is kept behind it, negative if the signs differ.

        Args:
            latents: What is kept behind each weight; None for nothing.
        """
        self.compare()
        found = []
        for weight, changes, latent in zip(self.weights, self._changes, latents, strict=True):
            values = weight.detach()
            low, high = torch.aminmax(values.abs())
            product = high if latent is None else (values * latent).amin()
            found += [changes.abs().amax(), torch.maximum(1 - low, high - 1), product]
        self.remember()
        return found


def _first_rows(weight: Tensor) -> Tensor:
    """Return a view of a weight's first rows, about `SAMPLE` numbers."""
    values = weight.detach()
    return values[: max(1, SAMPLE * len(weight) // weight.numel())] if weight.ndim else values
