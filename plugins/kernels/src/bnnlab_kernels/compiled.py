"""The kernels of an optimizer: its updates by compiled loops, whatever the network is."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from bnnlab.errors import UsageError
from bnnlab.interfaces.elementwise import CPU_CHUNK
from bnnlab.interfaces.kernels import Kernels, MakeFormulas, WholeSteps
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Run
from bnnlab.interfaces.saying import says
from bnnlab_kernels.arrays import Array, cut, flat, keys, numbers, state_of
from bnnlab_kernels.loops import Loop, loops_of
from bnnlab_kernels.steps import steps_of


class Compiled(Kernels):
    """Loops compiled from formulas; a large parameter is cut into a part for each thread of torch.

    A step takes one number from the optimizer's generator, its key, and all its draws are functions
    of the key. So they depend neither on how the network is evaluated, nor on the threads.

    Args:
        make: Makes the formulas.
    """

    def __init__(self, make: MakeFormulas) -> None:
        self._make, self.loops = make, loops_of(make)

    def __reduce__(self) -> tuple[Any, ...]:
        """Find the loops again where a copy of the optimizer is."""
        return Compiled, (self._make,)

    def begin(self, optimizer: Any) -> None:
        """Take the key of the step."""
        (self._key,) = keys(optimizer, 1)
        self._index: Mapping[Tensor, int] = {p: n for n, p in enumerate(optimizer.learned())}
        self._drawn = Counter[Tensor]()

    def draws(
        self, optimizer: Any, group: dict[str, Any], parameter: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """Return the step's next draws of a parameter."""
        names = ("weights", "noise")[: 1 + self.loops.formulas.keeps_noise]
        rooms = [optimizer.room(name, parameter, count) for name in names]
        weights, noise = rooms[0], rooms[-1]
        c, state = numbers(optimizer, group, parameter), self._state(optimizer, parameter)
        for each in zip(weights, noise, strict=True):
            which = self._key, self._index[parameter], self._drawn[parameter]
            draw = partial(self._draw, c, which, state, [*map(flat, each)])
            _in_parts(parameter.numel(), draw)
            self._drawn[parameter] += 1
        return weights, noise

    def add(
        self, optimizer: Any, parameter: Tensor, noise: Tensor, grads: Tensor, is_first: bool
    ) -> list[Tensor]:
        """Add the terms of draws in rooms."""
        count = self.loops.formulas.count
        sums = [optimizer.room(f"sum {n}", parameter, 1)[0] for n in range(count)]
        every, loop = [*map(flat, sums)], self.loops.put if is_first else self.loops.add
        for each in zip(noise, grads, strict=True):
            arrays = [*map(flat, each)]
            _in_parts(parameter.numel(), partial(_add, loop, arrays, every))
            loop = self.loops.add
        return sums

    def learn(
        self, optimizer: Any, group: dict[str, Any], parameter: Tensor, sums: Sequence[Tensor]
    ) -> None:
        """Update a parameter."""
        c, state = numbers(optimizer, group, parameter), self._state(optimizer, parameter)
        every = [*map(flat, sums)]
        _in_parts(
            parameter.numel(), lambda part: self.loops.learn(c, cut(state, part), cut(every, part))
        )

    def _draw(
        self, c: Any, which: Any, state: Sequence[Array], arrays: Sequence[Array], part: slice
    ) -> None:
        self.loops.draw(c, cut(state, part), *which, part.start, *cut(arrays, part))

    def whole_steps(self, run: Run) -> WholeSteps | str:
        """Return what makes the steps of a perceptron."""
        return steps_of(run, self._make)

    def _state(self, optimizer: Any, parameter: Tensor) -> Sequence[Array]:
        return state_of(self.loops.formulas, optimizer, parameter)


def _add(loop: Loop, arrays: Sequence[Array], sums: Sequence[Array], part: slice) -> None:
    loop(*cut(arrays, part), cut(sums, part))


def _in_parts(size: int, work: Callable[[slice], None]) -> None:
    """Do what is to be done for all places: in torch's number of threads, if there are many."""
    threads = torch.get_num_threads() if size > CPU_CHUNK else 1
    places = [size * n // threads for n in range(threads + 1)]
    parts = [slice(*pair) for pair in pairwise(places)]
    if threads == 1:
        work(parts[0])
    else:
        [*_pool(threads).map(work, parts)]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "bnnlab-kernels")


def kernels_of(optimizer: Optimizer) -> Compiled:
    """Return the kernels of an optimizer, which it may use from then on.

    Raises:
        UsageError: If it has no formulas, or its parameters are not of the kind that is compiled.
    """
    make, name = optimizer.formulas, type(optimizer).__name__
    if make is None or not says(optimizer, "formulas"):
        raise UsageError(
            f"{name} has no formulas for compiled loops, as it is set: leave kernels out"
        )
    for parameter in optimizer.learned():
        is_plain = parameter.device.type == "cpu" and parameter.dtype == torch.float32
        if not (is_plain and parameter.is_contiguous()):
            raise UsageError(
                "compiled loops are for float32 weights on the CPU, one after another in memory, "
                f"and one is {parameter.dtype} on {parameter.device}: leave kernels out"
            )
    return Compiled(make)
