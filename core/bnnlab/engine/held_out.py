"""Tasks that are evaluated on their validation parts: the test parts are not read."""

from dataclasses import replace

from bnnlab.errors import UsageError
from bnnlab.interfaces.stream import Task
from bnnlab.settings.run import Choice


def held_out(choice: Choice, task: Task) -> Task:
    """Return a task of a stream with its validation part as its test part, too.

    Raises:
        UsageError: If it has no validation part.
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
    return replace(task, test=task.validation)
