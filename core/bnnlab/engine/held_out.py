"""Tasks that are evaluated on their validation parts: the test parts are not read."""

from dataclasses import replace

import torch

from bnnlab.errors import UsageError
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.stream import Task
from bnnlab.settings.run import Choice


def held_out(choice: Choice, task: Task) -> Task:
    """Return a task of a stream with its validation part as its test part, too.

    Raises:
        UsageError: If it has no validation part, or one with examples of the test part.
    """
    if not isinstance(task, Task):  # a check will refuse it
        return task
    if task.validation is None or not len(task.validation):
        options = {option.name for option in choice.component.options}
        advice = (
            "Hold out a larger share of the training data, such as --set stream.validation=0.1"
            if "validation" in options
            else "The stream has no option for it: each Task must be made with validation=Examples"
        )
        raise UsageError(
            f"evaluate_on = validation: task {task.index + 1} ({task.name}) of {choice} has no "
            f"validation part. {advice}."
        )
    if _overlap(task.validation, task.test):
        raise UsageError(
            f"evaluate_on = validation: the validation part of task {task.index + 1} ({task.name}) "
            f"of {choice} has examples of its test part."
        )
    return replace(task, test=task.validation)


def _overlap(validation: Examples, test: object) -> bool:
    """Return whether two parts are one, or have common rows of one data set. No image is read."""
    if validation is test or not isinstance(test, Examples):
        return validation is test
    return validation.pixels is test.pixels and bool(torch.isin(validation.rows, test.rows).any())
