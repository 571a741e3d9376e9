"""How the states of a network come to rest, and what a nudge adds to that."""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab_eqprop.chain import Layer, joined
from bnnlab_eqprop.units import BinaryUnit

Order = Literal["synchronous", "even-odd"]

CHECK_EVERY = 10
"""Steps between looks at whether the states still move, on an accelerator: each look waits."""

ROUNDING_FROM = 27
"""Step from which on states are at rest, too, where they only move by rounding: see `settle`."""
ROUNDING = 8
"""Units in the last place of the largest state by which rounding may move a state."""


@dataclass
class States:
    """The states s_1, ..., s_L of a batch. Lists change; the tensors in them never do.

    Attributes:
        s: Each `(B, ...)`.
        z: What each puts out: s itself, or the binary output of a membrane s.
        chosen: The places that each layer's pooling chose for the output below it.
    """

    s: list[Tensor]
    z: list[Tensor]
    chosen: list[Tensor | None]

    def copy(self) -> "States":
        """Return states that may be updated while these stay."""
        return States(list(self.s), list(self.z), list(self.chosen))

    def twice(self) -> "States":
        """Return the states of this batch and then of the same again."""
        return self._each(lambda x: joined([x, x]))

    def half(self, number: int) -> "States":
        """Return the states of the first (0) or the second (1) half of the batch."""
        return self._each(lambda x: x.chunk(2)[number])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "States":
        chosen = [None if each is None else change(each) for each in self.chosen]
        return States([change(s) for s in self.s], [change(z) for z in self.z], chosen)


class Nudge(NamedTuple):
    """What pulls the last state towards the target.

    Attributes:
        force: Maps the last state and its output to what is added.
        inside: Whether that is added to the state's drive, or to the state.
        bounds: Between which the nudged state is kept, where it is added to the state.
    """

    force: Callable[[Tensor, Tensor], Tensor]
    inside: bool
    bounds: tuple[float, float] | None = None


class Network:
    """Layers at the weights that they hold now, driven by a batch.

    What the input drives is computed once; every step uses it.

    Args:
        layers: From input to output.
        x: Inputs `(B, ...)`.
        order: `synchronous`: every state is updated from the others as they were; `even-odd`:
            first those of odd number, then those of even number from the new ones.
    """

    def __init__(self, layers: Sequence[Layer], x: Tensor, order: Order) -> None:
        self.layers, self.x = layers, x
        self.W = [layer.weight() if number else None for number, layer in enumerate(layers)]
        self._driven = layers[0].drive(x)
        numbers = range(len(layers))
        self._groups = [numbers] if order == "synchronous" else [numbers[::2], numbers[1::2]]

    def twice(self) -> "Network":
        """Return the network driven by the batch and the batch again."""
        network = copy(self)
        a, chosen = self._driven
        network._driven = joined([a, a]), None if chosen is None else joined([chosen, chosen])
        return network

    def start(self, value: float) -> States:
        """Return states of one value."""
        a = self._driven[0].detach()
        s = [layer.start(a, value) for layer in self.layers]
        z = [_output(layer.unit, each) for layer, each in zip(self.layers, s, strict=True)]
        return States(s, z, [None] * len(s))

    def drive(self, number: int, states: States) -> Tensor:
        """Return what drives a state from below, and note the places that pooling chose."""
        if number == 0:
            a, states.chosen[0] = self._driven
        else:
            below = states.z[number - 1]
            a, states.chosen[number] = self.layers[number].drive(below, self.W[number])
        return a

    def choose(self, states: States) -> None:
        """Let pooling choose its places anew, for the states as they are."""
        for number, layer in enumerate(self.layers):
            if layer.pool is not None:
                self.drive(number, states)

    def step(self, states: States, nudge: Nudge | None = None) -> None:
        """Update every state once."""
        for group in self._groups:
            driven = [self.drive(number, states) for number in group]
            fresh = [self._pull(n, a, states) for n, a in zip(group, driven, strict=True)]
            for number, p in zip(group, fresh, strict=True):
                is_last = number + 1 == len(self.layers)
                self._update(number, p, states, nudge if is_last else None)

    def _pull(self, number: int, a: Tensor, states: States) -> Tensor:
        """Return dPhi/ds of a state, from below and from above, in memory of its own."""
        if number + 1 == len(self.layers):
            return a.clone() if number == 0 else a  # what the input drives serves every step
        above = self.layers[number + 1]
        if above.pool is not None and states.chosen[number + 1] is None:
            self.drive(number + 1, states)
        W = self.W[number + 1]
        assert W is not None
        return above.feedback(a, states.z[number + 1], states.chosen[number + 1], W)

    def _update(self, number: int, p: Tensor, states: States, nudge: Nudge | None) -> None:
        unit, s = self.layers[number].unit, states.s[number]
        if nudge and nudge.inside:
            p = p + nudge.force(s, states.z[number])
        if isinstance(unit, BinaryUnit):
            new = unit.follow(s, p)
        elif isinstance(unit, nn.Hardtanh):
            new = F.hardtanh_(p, unit.min_val, unit.max_val)  # no fresh memory
        else:
            new = unit(p)
        if nudge and not nudge.inside:
            new = new + nudge.force(s, states.z[number])
            if nudge.bounds is not None:
                new = new.clamp_(*nudge.bounds)
        states.s[number], states.z[number] = new, _output(unit, new)

    def settle(
        self, states: States, steps: int, tolerance: float | None
    ) -> tuple[int, list[Tensor]]:
        """Update the states `steps` times, or until no element moves by more than `tolerance`.

        With tolerance 0 the updates end when a step changes nothing, as then no later step would
        change anything. Sums of many numbers may go on for ever in their last bits. So the updates
        also end when a third of them, and at least 14, have moved no state by more than `ROUNDING`;
        but not those of binary units, which may jump late. With None all steps are made, and no
        number is read, so that vmap works.

        Returns:
            The number of steps made, and s_1, ..., s_L before the last one.
        """
        every = 1 if self.x.device.type == "cpu" else CHECK_EVERY
        jumps = any(isinstance(layer.unit, BinaryUnit) for layer in self.layers)
        before = list(states.s)
        since = ROUNDING_FROM
        earlier: list[Tensor] | None = None
        for step in range(1, steps + 1):
            before = list(states.s)
            self.step(states)
            if tolerance is None or step % every:
                continue
            is_late = not jumps and step >= since
            if _at_rest(before, states.s, tolerance, earlier if is_late else None):
                return step, before
            if is_late:
                since, earlier = math.ceil(1.5 * step), list(states.s)
        return steps, before


def _output(unit: nn.Module, s: Tensor) -> Tensor:
    return unit.output(s) if isinstance(unit, BinaryUnit) else s


def _at_rest(
    before: list[Tensor], after: list[Tensor], tolerance: float, earlier: list[Tensor] | None
) -> bool:
    """Return whether no state moved by more than the tolerance, or since `earlier` by rounding.

    The CPU compares the last and smallest state first, and may stop there. Other devices compare
    all at once, so that the host waits once.
    """
    rests: list[Iterator[Tensor | bool]] = [_still(before, after, tolerance)]
    if earlier is not None:  # where states swing to and fro, `before` tells
        rests.append(chain(_still(before, after, None), _still(earlier, after, None)))
    if after[0].device.type == "cpu":
        return any(map(all, rests))
    return bool(torch.stack([torch.stack([*rest]).all() for rest in rests]).any())


def _still(
    before: list[Tensor], after: list[Tensor], tolerance: float | None
) -> Iterator[Tensor | bool]:
    """Yield, last state first, whether it moved by no more than that; None: than by rounding."""
    for old, new in zip(reversed(before), reversed(after), strict=True):
        if tolerance == 0 and new.device.type == "cpu":
            yield torch.equal(old, new)
        else:
            rounding = ROUNDING * torch.finfo(new.dtype).eps
            limit = new.abs().amax() * rounding if tolerance is None else tolerance
            yield (new - old).abs().amax() <= limit
