"""Random weights that carry an error back."""

import math
from typing import Literal

import torch
from torch import Tensor

from bnnlab.interfaces.signs import random_signs

Feedback = Literal["normal", "uniform", "sign"]
"""Distribution of the elements; sign: two values of equal size."""


def random_feedback(
    feedback: Feedback, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Return a tensor with elements of mean 0 and standard deviation 1."""
    if feedback == "normal":
        return torch.randn(shape, generator=generator)
    if feedback == "uniform":
        return (torch.rand(shape, generator=generator) * 2 - 1) * math.sqrt(3)
    return random_signs(shape, generator)
