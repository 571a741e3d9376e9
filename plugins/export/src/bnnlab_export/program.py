"""The program that is being written: steps, and the tensors that they name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnnlab_export.packing import Array


@dataclass(eq=False)
class Program:
    """Steps in order. Value 0 is the input, and step i makes value i + 1.

    Attributes:
        steps: As in the file; `tensors` has names.
        tensors: By these names.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    tensors: dict[str, Array] = field(default_factory=dict)

    def add(
        self, op: str, *inputs: int, tensors: Mapping[str, Array | None] | None = None, **more: Any
    ) -> int:
        """Add a step, and return the number of the value that it makes."""
        held = {role: it for role, it in (tensors or {}).items() if it is not None}
        names = {role: f"{len(self.steps)}.{role}" for role in held}
        self.tensors |= {names[role]: it for role, it in held.items()}
        self.steps.append({"op": op, "inputs": [*inputs], "tensors": names, **more})
        return len(self.steps)

    def ending_at(self, result: int) -> "Program":
        """Return what makes this value, the last one, without steps that it does not need."""
        needed = {result}
        for number in range(result, 0, -1):
            if number in needed:
                needed.update(self.steps[number - 1]["inputs"])
        kept, renumbered = Program(), {0: 0}
        for number in sorted(needed - {0}):
            step = dict(self.steps[number - 1])
            tensors = {role: self.tensors[name] for role, name in step.pop("tensors").items()}
            op, inputs = step.pop("op"), [renumbered[each] for each in step.pop("inputs")]
            renumbered[number] = kept.add(op, *inputs, tensors=tensors, **step)
        return kept
