"""Every example that `bnn` shows is a command that it understands."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from pages import understood

from bnnlab.cli import app
from bnnlab.cli.choosing import layer
from bnnlab.cli.info import _example
from bnnlab.registry.components import MANY, Component, Kind
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.layers import resolve, resolve_components

HOST = PluginHost()


@pytest.fixture(scope="module")
def group() -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize(
    ("plugin", "component"),
    [pytest.param(*each, id=str(each[1])) for each in HOST.components()],
)
def test_the_example_of_a_component_resolves_and_fits(
    plugin: Plugin, component: Component, group: Any
) -> None:
    kind, name = component.kind, f"{plugin.distribution}/{component.name}"
    said = {kind: {name: {}} if kind in MANY else name}
    if component.argument:
        said[kind] = f"{name}:{component.options[0].default}"
    choice = resolve_components(HOST, [said], [kind])[kind]
    first, command, *rest = shlex.split(_example(HOST, choice))
    assert (first, command) == ("bnn", "sweep" if kind is Kind.ENGINE else "run")
    told = understood(group, [command, *rest]).params
    if kind is Kind.ENGINE:
        return
    many = {str(each): {one: {} for one in told.pop(str(each)) or ()} for each in MANY}
    settings = {key: it for key, it in told.items() if it not in (None, False)}
    config = resolve(HOST, [layer({**settings, **many}), {"out": "runs"}])
    require(HOST, config)
    chosen = [*config.choices.values(), *config.probes.values(), *config.trackers.values()]
    assert name in [each.name for each in chosen]


def commands(group: Any, *names: str) -> Iterator[tuple[str, Any]]:
    context = group.make_context("bnn", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.resolve_command(context, [name])[1]
        yield f"{' '.join([*names, name])}", command
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)


def test_the_examples_of_every_command_are_understood(group: Any) -> None:
    for name, command in commands(group):
        examples = re.findall(r"\bbnn [a-z][^|`\n]*", (command.help or "").partition("Example")[2])
        told = [shlex.split(example.partition(" > ")[0])[1:] for example in examples]
        for words in told:
            understood(group, words)
        own = name.split()
        assert any(words[: len(own)] == own for words in told), f"bnn {name} --help has no example"
