"""Refuse what does not fit the data, or the model that was made, also where it is not declared."""

from dataclasses import replace

from bnnlab.engine.abilities import lacking
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model, goes_by_task
from bnnlab.interfaces.stream import Task, TaskStream
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.run import RunConfig

ANY_LOSS, TOKEN_INPUTS = "any-loss", "token-inputs"
"""What a rule for other targets than a class per input provides, and a model of token ids."""


def expect_for_data(host: PluginHost, config: RunConfig, stream: TaskStream, task: Task) -> None:
    """Refuse what does not fit the data of a stream.

    Raises:
        UsageError: With what would fit.
    """
    why: dict[str, str] = {}
    if not task.objective.is_of_classes:
        why[ANY_LOSS] = f"targets are {task.objective.name}"
    if stream.tokens is not None:
        why[TOKEN_INPUTS] = "inputs are token ids"
    choice = config.choices[Kind.STREAM]
    if why.keys() <= choice.component.requires:
        return
    component = replace(choice.component, requires=choice.component.requires | {*why})
    choices = {**config.choices, Kind.STREAM: replace(choice, component=component)}
    require(host, replace(config, choices=choices), " and ".join(why.values()))


def expect_for_model(config: RunConfig, stream: TaskStream, model: Model) -> None:
    """Refuse what does not fit the weights of a model, or parts of it that go by the task.

    Raises:
        UsageError: If a component requires other weights, or the stream does not tell the task.
    """
    who, lacks = config.choices[Kind.MODEL], lacking(model)
    for top, choice in config.choices.items():
        for _, each in choice.within(top):
            for name in sorted(each.capabilities()[1] & lacks):
                raise UsageError(
                    f"{each} requires {name!r}, and {who} has none with these options: take "
                    "others, or another model"
                )
    parts = [name for name, part in model.named_modules() if goes_by_task(part)]
    if parts and not stream.gives_task_ids:
        raise UsageError(
            f"{who}: its part {parts[0]} goes by the task (select_task), which "
            f"{config.choices[Kind.STREAM]} does not tell at test: take a stream that provides "
            "'task-ids', or other options of the model, such as statistics=running"
        )
