"""The task, model and rule that a rule and an optimizer are told at a task's start and end."""

from dataclasses import dataclass
from typing import Any

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.stream import Task


@dataclass(frozen=True)
class TaskContext:
    """What a rule and an optimizer are told at a task's start and end.

    Attributes:
        task: The task, with its training data. Do not read its test data.
        model: The model that is trained.
        rule: The `LearningRule` that gives the gradients.
        batch_size: Examples per step, without those that the rule recalls.
        steps: Optimizer steps in this task, over all epochs.
        rate_factor: What the schedule of the run multiplies the learning rates by: the root mean
            square over these steps.
    """

    task: Task
    model: Model
    rule: Any
    batch_size: int
    steps: int
    rate_factor: float = 1.0
