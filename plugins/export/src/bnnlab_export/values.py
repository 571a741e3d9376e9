"""What is known of a value while a model is written as a program, and what waits to be done to it.

Functions that act on each channel alone wait in a chain behind a value. If a sign ends the chain,
they become a threshold; if a real number is needed, they are computed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Affine:
    """gain * x + shift per channel, with `run`, which computes it as the model does.

    Attributes:
        run: Maps `(B, C, ...)`.
        gain, shift: float64 `(C,)`.
        shifts: Whether there may be a shift: then steps have one, whatever it is.
    """

    run: Function
    gain: Tensor
    shift: Tensor
    shifts: bool = True


@dataclass(frozen=True, eq=False)
class Curve:
    """A function that rises, or stays, everywhere, with the parameters of the op `activate`."""

    run: Function
    parameters: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class MaxPool:
    """Max pooling, with its sizes as in the file."""

    sizes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Rows:
    """Layer or group normalisation.

    Attributes:
        groups: Groups of channels that have their own mean and variance.
        eps: Added to the variance.
        gain, shift: float32 `(C,)`, or None.
    """

    groups: int
    eps: float
    gain: Tensor | None
    shift: Tensor | None


Item = Affine | Curve | MaxPool | Rows


@dataclass(frozen=True, eq=False)
class Value:
    """A value of the program.

    Attributes:
        number: In the program.
        kind: pixels: the input. sums: exact whole numbers.
        like: An example of the model's tensor, `(2, C)` or `(2, C, H, W)`, with the chain done.
        chain: What waits to be done.
        bound: Of sums: the largest size.
        order: Of a map that was flattened: which of the model's features each number is, as the
            program has the channels last. None if they are in the model's order. Of pixels: once
            they are real.
        positions: Of bits: each one has its channels in words of its own.
        before: The map that was flattened; None for other values.
    """

    number: int
    kind: Literal["pixels", "real", "sums", "bits"]
    like: Tensor
    chain: tuple[Item, ...] = ()
    bound: int = 0
    order: Tensor | None = None
    positions: int = 1
    before: "Value | None" = None

    def in_order(self, features: Tensor) -> Tensor:
        """Return numbers per feature `(..., F)` in the order of the program."""
        return features if self.order is None else features[..., self.order]


def composed(items: Iterable[Item], channels: int) -> tuple[Tensor, Tensor]:
    """Return the gain and the shift, float64 `(C,)`, of affine functions one after the other."""
    gain = torch.ones(channels, dtype=torch.float64)
    shift = torch.zeros(channels, dtype=torch.float64)
    for item in items:
        assert isinstance(item, Affine)
        gain, shift = item.gain * gain, item.gain * shift + item.shift
    return gain, shift


def shifts(items: Iterable[Item]) -> bool:
    """Return whether affine functions may have a shift."""
    return any(isinstance(item, Affine) and item.shifts for item in items)


def channels_last(like: Tensor) -> Tensor | None:
    """Return the features of maps `(2, C, H, W)` in the order (H, W, C); None if nothing moves."""
    channels, *sides = like.shape[1:]
    if channels == 1 or sides == [1, 1]:
        return None
    return torch.arange(like[0].numel()).view(channels, *sides).permute(1, 2, 0).flatten()
