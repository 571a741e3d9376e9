"""Steps of single examples that compiled loops make, many at a time."""

import logging
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.kernels import WholeSteps
from bnnlab.interfaces.probe import Run

log = logging.getLogger(__name__)


def find_whole_steps(run: Run, is_watched: bool) -> WholeSteps | None:
    """Return what makes whole steps of a run; if nothing can, warn and say why.

    Args:
        run: The run, whose optimizer may have kernels.
        is_watched: Whether a probe looks at each step.
    """
    kernels = run.optimizer.kernels
    if kernels is None or run.batch_size > 1:
        return None
    found = "a probe looks at each step" if is_watched else kernels.whole_steps(run)
    if isinstance(found, str):
        log.warning("compiled kernels update the weights, but make no whole steps: %s", found)
        return None
    return found


def blocks(
    examples: Examples, order: Tensor | None, first: int, count: int, most: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the examples of steps, so many at a time, or fewer: inputs and targets.

    A block ends where the number of steps is a multiple of `most`.

    Args:
        examples: The examples.
        order: Their order, int64 `(M,)`; None for the one that they have.
        first: The first of the steps.
        count: The number of steps, with those before the first.
        most: Steps of a block.
    """
    order = torch.arange(len(examples)) if order is None else order
    ends = range(first - first % most + most, count, most)
    for start, end in pairwise([first, *ends, count]) if first < count else ():
        yield examples.batch(order[start:end])
