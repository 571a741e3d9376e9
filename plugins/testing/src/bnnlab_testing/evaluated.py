"""Formulas of an optimizer, evaluated in float64 by NumPy in the place of compiled loops."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bnnlab.interfaces.kernels import Formulas, Functions, Kernels, MakeFormulas, WholeSteps

Draws = deque[tuple[Tensor, Tensor]]
"""What `draws` returned, call by call."""


def _normal(u: Any) -> Any:
    return torch.special.ndtri(torch.as_tensor(u)).numpy()


def _clip(x: Any, low: Any, high: Any) -> Any:
    return np.where(x < low, low, np.where(x > high, high, x))


FUNCTIONS = Functions(
    number=float,
    exp=np.exp,
    sqrt=np.sqrt,
    logit=lambda u: np.log(u) - np.log1p(-u),
    normal=_normal,
    where=np.where,
    sign=lambda x: np.copysign(1.0, x),
    clip=_clip,
    part=lambda function: function,
)
"""What formulas are evaluated with."""


class Evaluated(Kernels):
    """Learns by formulas, at weights that another optimizer draws.

    Args:
        make: Makes the formulas.
        drawn: What the other one draws.
    """

    def __init__(self, make: MakeFormulas, drawn: Draws) -> None:
        self.formulas, self._drawn = make(FUNCTIONS), drawn
        self._used = list[tuple[float, ...]]()

    def expect_used(self, told: Sequence[tuple[float, ...]]) -> None:
        """Check that a step has used the kernels, with the numbers that were told before it."""
        used, self._used = self._used, []
        assert len(used) == len(told), (
            f"it has formulas, and step() has let self.kernels learn {len(used)} of {len(told)} "
            "parameters"
        )
        for one, other in zip(told, used, strict=True):
            assert np.allclose(one, other, rtol=1e-9, atol=0), (
                f"numbers() says {one} of a step ahead, and {other} in it: return those of the "
                "step that is `ahead`, and say `counts_steps` where they differ from step to step"
            )

    def begin(self, optimizer: Any) -> None:
        """Begin a step; there is nothing to do."""

    def draws(
        self, _optimizer: Any, _group: dict[str, Any], parameter: Tensor, _count: int
    ) -> tuple[Tensor, Tensor]:
        """Return what the other optimizer has drawn."""
        weights, noise = self._drawn.popleft()
        return weights.to(parameter), noise.to(parameter)

    def add(
        self, optimizer: Any, parameter: Tensor, noise: Tensor, grads: Tensor, is_first: bool
    ) -> list[Tensor]:
        """Add the terms of draws."""
        terms = self.formulas.terms or (lambda _, g: (g,))
        with np.errstate(all="ignore"):
            found = terms(noise.numpy(), grads.numpy())
        rooms = [optimizer.room(f"sum {n}", parameter, 1)[0] for n in range(len(found))]
        for room, term in zip(rooms, found, strict=True):
            total = torch.as_tensor(term).sum(0)
            room.copy_(total if is_first else room + total)
        return rooms

    def learn(
        self, optimizer: Any, group: dict[str, Any], parameter: Tensor, sums: Sequence[Tensor]
    ) -> None:
        """Update a parameter."""
        numbers = tuple(optimizer.numbers(group, parameter, 0))
        self._used.append(numbers)
        tensors = state_of(self.formulas, optimizer, parameter)
        with np.errstate(all="ignore"):
            state = tuple(each.detach().numpy().copy() for each in tensors)
            found = self.formulas.learn(numbers, state, [each.numpy() for each in sums])
        for tensor, values in zip(tensors, found, strict=True):
            tensor.copy_(torch.as_tensor(values))

    def whole_steps(self, _run: Any) -> WholeSteps | str:
        """Say that it makes none."""
        return "formulas are evaluated in one step after another"


def state_of(formulas: Formulas, optimizer: Any, parameter: Tensor) -> list[Tensor]:
    """Return a parameter, and what is kept for it by the formulas."""
    kept = optimizer.formula_state(parameter)
    missing = [name for name in formulas.states if name not in kept]
    assert not missing, (
        f"the formulas' states {', '.join(missing)} are not there before the first step: let "
        "formula_state() make them"
    )
    return [parameter.detach(), *(kept[name] for name in formulas.states)]


@contextmanager
def recording(owner: Any, drawn: Draws) -> Iterator[None]:
    """Note what the `draws` of an optimizer, or of its kernels, returns."""
    draws: Callable[..., tuple[Tensor, Tensor]] | None = getattr(owner, "draws", None)
    if draws is None:
        yield
        return

    def noting(*given: Any) -> tuple[Tensor, Tensor]:
        weights, noise = draws(*given)
        drawn.append((weights.clone(), noise.clone()))
        return weights, noise

    owner.draws = noting
    try:
        yield
    finally:
        del owner.draws
