"""What the methods with a memory share."""

from typing import Annotated, ClassVar

import torch

from bnnlab.engine.making import Maker
from bnnlab.errors import UsageError
from bnnlab.families.around import RuleAround
from bnnlab.interfaces.memory import Memory, Past
from bnnlab.interfaces.model import Model, segment_shapes
from bnnlab.interfaces.policies import Policy
from bnnlab.interfaces.rule import Batch
from bnnlab.markers import AtLeast, Part, Search

_GRADIENTS = ("gradients", "reevaluable", "whole-batch", "x-*")
"""What is so of any rule's gradients, also as a third party says it, is so of more rows."""
AnyRule = Annotated[
    Maker | str,
    Part("rule", passes=(*_GRADIENTS, "any-loss"), refuses=("recalls",)),
]
"""A base that gets more rows, and may learn from more than the batch's loss."""
ByTheLoss = Annotated[
    Maker | str,
    Part("rule", passes=_GRADIENTS, needs=("any-loss",), refuses=("recalls",)),
]
"""A base that gets another loss, and learns from that alone."""


class Rehearsal(RuleAround):
    """A rule around another one that learns past examples beside each batch.

    Args:
        base: The rule that gives the gradients.
        size: Examples in the memory.
        policy: Which examples stay. reservoir: each with the same probability. balanced: as many of
            each class.
        recalled: Past examples per step, drawn without replacement. None: as many as the batch has.

    Raises:
        UsageError: If the base has a memory of its own; from `attach`, if it refuses the model, or
            a part of the model goes by the task.
    """

    name: ClassVar[str]
    keeps_logits: ClassVar[bool] = False

    def __init__(
        self,
        *,
        base: AnyRule = "bp",
        size: Annotated[int, AtLeast(1)] = 200,
        policy: Policy = "reservoir",
        recalled: Annotated[int | None, AtLeast(1), Search(10, 200)] = None,
    ) -> None:
        super().__init__(Maker.of("rule", base)())
        self.size, self.policy, self.recalled = size, policy, recalled

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Attach the base, and make the memory."""
        super().attach(model, generator)
        self.memory = Memory(
            self.size, generator=generator, policy=self.policy, logits=self.keeps_logits
        )

    def past(self, batch: Batch) -> Past | None:
        """Draw past examples to learn beside a batch; None as long as there are none."""
        assert self.memory is not None
        return self.memory.draw(self.recalled or len(batch.targets), batch)

    def diagnostics(self) -> dict[str, float]:
        """Return the base's numbers, and what the memory holds."""
        assert self.memory is not None
        held = {"memory_examples": len(self.memory), "memory_bytes": self.memory.bytes}
        return {**super().diagnostics(), **held}


def classes_of(model: Model, rule: str) -> int:
    """Return the number of classes K.

    Raises:
        UsageError: If it is not known.
    """
    if model.classes is not None:
        return model.classes
    if model.input_shape is None:
        raise UsageError(f"{rule} must know the classes: pass input_shape=(...) to the model")
    return segment_shapes(model, model.input_shape)[-1][0]
