"""A rule with a memory, and one that counts the tasks it hears of, for tests of the core."""

import torch
from torch import Tensor

from bnnlab.families.around import RuleAround
from bnnlab.interfaces.batch import Batch, joined
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.memory import Memory, Policy
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import LearningRule
from bnnlab_testing import toy


class Replay(RuleAround):
    """Learns six past rows beside a batch, and counts what it is asked.

    Args:
        size: Examples in the memory.
        policy: Which of them stay.
        logits: Whether it keeps logits.
    """

    def __init__(
        self,
        base: LearningRule | None = None,
        *,
        size: int = 30,
        policy: Policy = "reservoir",
        logits: bool = True,
    ) -> None:
        super().__init__(base or toy.ToyRule())
        self.kept = {"size": size, "policy": policy, "logits": logits}
        self.recalled, self.remembered = 0, list[tuple[Batch, Tensor]]()

    def attach(self, model: Model, generator: torch.Generator) -> None:
        super().attach(model, generator)
        self.memory = Memory(**self.kept, generator=generator)  # type: ignore[arg-type]

    def recall(self, model: Model, batch: Batch) -> Batch:
        assert not torch.is_grad_enabled()
        self.recalled += 1
        assert self.memory is not None
        past = self.memory.draw(6, batch)
        return batch if past is None else joined([batch, past.batch])

    def remember(self, batch: Batch, logits: Tensor) -> None:
        self.remembered.append((batch, logits))
        super().remember(batch, logits)


class Counts(toy.ToyRule):
    """Learns more slowly the more often it was told of a task."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("told", torch.zeros(2))

    def task_started(self, context: TaskContext) -> None:
        self.get_buffer("told")[0] += 1

    def task_ended(self, context: TaskContext) -> None:
        self.get_buffer("told")[1] += 1

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(1 + self.get_buffer("told").sum())
        return answer
