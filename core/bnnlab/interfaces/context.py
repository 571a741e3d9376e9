"""What an optimizer is told at a task's start and end."""

from dataclasses import dataclass

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.stream import Task


@dataclass(frozen=True)
class TaskContext:
    """What an optimizer is told at a task's start and end.

    Attributes:
        task: The task, with its training data; its test part is not to be read.
        model: The model being trained.
        rule: The rule that trains it.
        batch_size: Examples per step.
        steps: Optimizer steps in this task, all epochs together.
    """

    task: Task
    model: Model
    rule: LearningRule
    batch_size: int
    steps: int
