"""Numbers that change from step to step, where the operations of an optimizer read them."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.optimizer_state import Group, StatefulOptimizer

Number = float | Tensor
"""A number of Python; on an accelerator a tensor without a dimension."""


class StepNumbers:
    """The numbers of the step that is made, of each parameter group.

    On the CPU they are Python's. On other devices they are float32 tensors without a dimension,
    which keep their place in memory. So a step that is recorded once (a CUDA graph) reads in each
    repetition what was written before it.

    A copy has none of them.
    """

    def __init__(self) -> None:
        self._held: dict[int, dict[str, Number]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return StepNumbers, ()

    def write(self, group: Group, values: Mapping[str, float]) -> None:
        """Take the numbers of a group that has parameters, for the step that begins."""
        device, held = group["params"][0].device, self._held.setdefault(id(group), {})
        for name, value in values.items():
            if device.type == "cpu":
                held[name] = value
                continue
            number = held.get(name)
            if not isinstance(number, Tensor) or number.device != device:
                held[name] = number = torch.empty((), device=device)
            number.fill_(value)

    def of(self, group: Group) -> Mapping[str, Number]:
        """Return those of a group; of one that was not asked for its numbers there are none."""
        return self._held.get(id(group), {})


class NumberedOptimizer(StatefulOptimizer):
    """An optimizer that says, as a step begins, which numbers the step computes with.

    Attributes:
        waits: How often, at most, the host waits for the device in a step, as at `.item()`. A look,
            in every 50th step, waits once more.
        capturable: Whether a step on an accelerator, once recorded (as a CUDA graph), may be
            repeated: what changes from step to step on the host is in `step_numbers`, and all else
            in tensors. It waits for nothing. A subclass that changes a method says it again.
    """

    waits = 0
    capturable = False
    _in_step = False

    def __init__(self, *given: Any) -> None:
        self._numbers = StepNumbers()
        super().__init__(*given)

    def step_numbers(self, group: Group) -> Mapping[str, float]:
        """Return the numbers of a group for the step that begins, by name; count steps here.

        It is asked as a step begins, of each group with parameters that learn. By default it is the
        group's `lr`, which schedules change, of what says `capturable`.
        """
        return {"lr": group["lr"]} if self.capturable else {}

    def numbers_now(self, group: Group) -> Mapping[str, Number]:
        """Return what `step_numbers` gave for this step. Outside of a step there are none."""
        return self._numbers.of(group) if self._in_step else {}

    def lr_now(self, group: Group) -> Number:
        """Return the learning rate for this step: the number `lr`, or else the group's setting."""
        return self.numbers_now(group).get("lr", group["lr"])

    def step_begins(self) -> None:
        """Do what a step begins with on the host: ask for its numbers. `step` calls it."""
        for group in self.param_groups:
            if group["params"]:
                self._numbers.write(group, self.step_numbers(group))


def begun(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a step that begins as each step of an optimizer does, unless it is a base class's."""

    @wraps(step)
    def begins(self: NumberedOptimizer, *args: Any, **given: Any) -> Any:
        if self._in_step:
            return step(self, *args, **given)
        self._in_step = True
        try:
            self.step_begins()
            return step(self, *args, **given)
        finally:
            self._in_step = False

    return begins
