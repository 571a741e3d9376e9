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
    validation = expect_held_out("evaluate_on = validation", choice, task)
    if _overlap(validation, task.test):
        raise UsageError(
            f"evaluate_on = validation: the validation part of task {task.index + 1} ({task.name}) "
            f"of {choice} has examples of its test part."
        )
    return replace(task, test=validation)


def expect_held_out(why: str, choice: Choice, task: Task) -> Examples:
    """Return the validation part of a task of a stream; `why` says what needs it.

    Raises:
        UsageError: If it has none, with the option that makes one.
    """
    if task.validation is not None and len(task.validation):
        return task.validation
    options = [
        f"--set {place}.validation=0.1"
        for place, each in choice.within("stream")
        if any(option.name == "validation" for option in each.component.options)
    ]
    advice = (
        f"Hold out a larger share of the training data, such as {' '.join(options)}"
        if options
        else "The stream has no option for it: each Task must be made with validation=Examples"
    )
    raise UsageError(
        f"{why}: task {task.index + 1} ({task.name}) of {choice} has no validation part. {advice}."
    )


def _overlap(validation: Examples, test: object) -> bool:
    """Return whether two parts are one, or have common rows of one data set. No image is read."""
    if validation is test or not isinstance(test, Examples):
        return validation is test
    return validation.pixels is test.pixels and bool(torch.isin(validation.rows, test.rows).any())
