"""Tasks that are evaluated on their validation parts: the test parts are not read."""

from collections.abc import Sequence
from dataclasses import replace

from bnnlab.errors import UsageError
from bnnlab.interfaces.stream import Task
from bnnlab.settings.run import Choice


def held_out(choice: Choice, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks of a stream, each with its validation part as its test part, too.

    What is no task is left as it is, for a check to refuse.

    Raises:
        UsageError: If a task has no validation part.
    """
    return [_held_out(choice, task) if isinstance(task, Task) else task for task in tasks]


def _held_out(choice: Choice, task: Task) -> Task:
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
    return replace(task, test=task.validation)
