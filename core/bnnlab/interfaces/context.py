"""The task, model and rule that an optimizer is told at a task's start and end."""

from dataclasses import dataclass

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.stream import Task


@dataclass(frozen=True)
class TaskContext:
    """What an optimizer is told at a task's start and end.

    Attributes:
        task: The task, with its training data. Do not read its test data.
        model: The model that is trained.
        rule: The rule that gives the gradients.
        batch_size: Examples per step.
        steps: Optimizer steps in this task, over all epochs.
    """

    task: Task
    model: Model
    rule: LearningRule
    batch_size: int
    steps: int
