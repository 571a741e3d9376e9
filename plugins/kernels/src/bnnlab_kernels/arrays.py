"""What an optimizer holds, as arrays of the same memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnnlab.errors import RunError
from bnnlab.interfaces.kernels import Formulas

Array = np.ndarray[Any, Any]


def keys(optimizer: Any, steps: int) -> Array:
    """Return the keys of steps, uint64 `(steps,)`: those of N steps are N times those of one."""
    drawn = torch.empty(steps, dtype=torch.int64)
    if optimizer._generator is not None:
        drawn.random_(-(2**63), None, generator=optimizer._generator)
    found: Array = drawn.numpy().view(np.uint64)
    return found


def numbers(optimizer: Any, group: dict[str, Any], parameter: Tensor) -> tuple[np.float32, ...]:
    """Return the numbers of the step that is made, in the type of the loops."""
    return tuple(map(np.float32, optimizer.numbers(group, parameter, 0)))


def state_of(formulas: Formulas, optimizer: Any, parameter: Tensor) -> tuple[Array, ...]:
    """Return a parameter and what is kept for it, flat, as arrays of the same memory.

    Raises:
        RunError: If other code left something that lies otherwise in memory.
    """
    kept = optimizer.formula_state(parameter)
    every = {"a parameter": parameter, **{name: kept[name] for name in formulas.states}}
    for name, tensor in every.items():
        is_plain = tensor.is_contiguous() and tensor.dtype == torch.float32
        if not is_plain or tensor.shape != parameter.shape:
            raise RunError(
                f"compiled loops cannot write into {name!r} of {type(optimizer).__name__}, a "
                f"tensor {tuple(tensor.shape)} of {tensor.dtype}: it must be float32, contiguous, "
                f"and of the weight's shape {tuple(parameter.shape)}"
            )
    return tuple(map(flat, every.values()))


def flat(tensor: Tensor) -> Array:
    """Return a tensor as an array of one dimension; its memory is shared if it is contiguous."""
    array: Array = tensor.detach().reshape(-1).numpy()
    return array


def cut(arrays: Sequence[Array], part: slice) -> tuple[Array, ...]:
    """Return a part of each array."""
    return tuple([array[part] for array in arrays])
