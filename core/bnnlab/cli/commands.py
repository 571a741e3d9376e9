"""The commands of `bnn`: the core's, and those that plugins add."""

import inspect
import logging
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from bnnlab.errors import UsageError, printable
from bnnlab.registry.components import Command
from bnnlab.registry.host import PluginHost, does_not_load
from bnnlab.registry.importing import runs
from bnnlab.storage.files import expect_path

log = logging.getLogger(__name__)

PANEL = "Commands of plugins"
_VALUES = {
    "int": "N",
    "integer": "N",
    "float": "X",
    "str": "TEXT",
    "text": "TEXT",
    "path": "PATH",
    "choice": "NAME",
}
"""What stands for a value in help, by the first word that typer has for its type."""


class Commands(TyperGroup):
    """The core's commands come first, so that no plugin replaces one.

    Where the core or two plugins have the same name, a plugin's command is called
    `DISTRIBUTION/NAME`. It is imported when it is called; lists show its summary.
    """

    _called = ""  # the plugin's command that was called, with its plugin

    @cached_property
    def _added(self) -> dict[str, Command]:
        """Commands of plugins, by name; if plugins cannot be read: empty, with a warning."""
        try:
            offers = PluginHost().commands()
        except UsageError as error:  # of BNNLAB_ONLY or of the user's registry.toml
            log.warning("commands of plugins are not listed: %s", error)
            return {}
        taken = Counter([*self.commands, *(command.name for _, command in offers)])
        return {
            command.name
            if taken[command.name] == 1
            else f"{plugin.distribution}/{command.name}": command
            for plugin, command in offers
        }

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *self._added]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command of the core, or a stub of a plugin's command, for lists."""
        if cmd_name in self.commands or cmd_name not in self._added:
            return super().get_command(ctx, cmd_name)
        from rich.markup import escape

        summary = escape(printable(self._added[cmd_name].summary))
        return TyperCommand(name=cmd_name, help=summary, rich_help_panel=PANEL)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, its command, and the remaining arguments.

        Raises:
            UsageError: If there is no such command, or it cannot be loaded.
        """
        name, *rest = args
        try:
            return name, _legible(_strict(self.commands.get(name) or self._load(name))), rest
        except UsageError:
            if ctx.resilient_parsing:  # a word is being completed: there is nothing to say
                return None, None, rest
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run a command. An error of a plugin's command gets a note that names the plugin."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if self._called:
                error.add_note(self._called)
            raise

    def _load(self, name: str) -> Any:
        """Import the command of a plugin, and make it a typer command.

        Raises:
            UsageError: If there is no such command, or it cannot be loaded; the plugin is named.
        """
        host = PluginHost()
        plugin, command = host.resolve_command(name, self.commands)
        target = host.load(plugin, command)
        self._called = f"command {command.name!r} of {plugin.distribution} {plugin.version}"
        try:
            return command_of(command.name, target)
        except Exception as error:  # whatever typer does not understand in it
            raise does_not_load(plugin, command, error) from error


def command_of(name: str, target: Any) -> Any:
    """Return the command that a plugin's function or `typer.Typer` is.

    Raises:
        TypeError: If a body would not run, or an option is one that `bnn` keeps for itself.
    """
    parent = typer.Typer(rich_markup_mode="rich")
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=name)
    else:
        parent.command(name)(target)
    return _understood(typer.main.get_group(parent).commands[name])


def _understood(command: Any) -> Any:
    """Return a plugin's command, if `bnn` does all that it and those below it say.

    Raises:
        TypeError: If a body would not run, or an option is one that `bnn` keeps for itself.
    """
    if not runs(inspect.unwrap(command.callback)):
        raise TypeError(f"{command.name} is a generator or coroutine: make it a plain function")
    for own in ("--debug", "--plugin"):
        if any(own in parameter.opts for parameter in command.params):
            raise TypeError(
                f"{command.name}: {own} is an option of bnn itself; choose another name"
            )
    for each in getattr(command, "commands", {}).values():
        _understood(each)
    return command


def _strict(command: Any) -> Any:
    """Let a command, and those below it, refuse what typer takes in silence.

    It takes the last value of an option that is given twice, an empty path as the working
    directory, and a path that is too long.
    """
    parse = command.parse_args
    if hasattr(parse, "strict"):
        return command

    def parse_args(ctx: Any, args: list[str]) -> Any:
        if not ctx.resilient_parsing:
            values, _, given = command.make_parser(ctx).parse_args(list(args))
            for parameter, times in Counter(given).items():
                _check(parameter, times, values[parameter.name])
        return parse(ctx, args)

    parse_args.strict = True  # type: ignore[attr-defined]
    command.parse_args = parse_args
    for each in getattr(command, "commands", {}).values():
        _strict(each)
    return command


def _legible(command: Any) -> Any:
    """Let the help of a command, and of those below it, say `N` for a number, and not `<int>`."""
    for each in command.params:
        if each.param_type_name == "option" and not each.is_flag and each.metavar is None:
            each.metavar = _VALUES.get(each.type.name.split()[0])
            if each.type.name == "choice":
                each.help = f"{each.help or ''} One of {', '.join(map(str, each.type.choices))}."
    for each in getattr(command, "commands", {}).values():
        _legible(each)
    return command


def _check(parameter: Any, times: int, value: Any) -> None:
    """Raise a UsageError on two values for one, and on a path that cannot be one."""
    if parameter.param_type_name == "option":
        name = "/".join([parameter.opts[0], *parameter.secondary_opts])
        is_said_again = parameter.is_flag and not parameter.secondary_opts
        if times > 1 and not (parameter.multiple or parameter.count or is_said_again):
            raise UsageError(f"{name} is given {times} times, and takes one value.")
    else:
        name = parameter.human_readable_name
    values = value if isinstance(value, list | tuple) else [value]
    if parameter.type.name in ("path", "file", "directory"):
        if "" in values:
            raise UsageError(f"{name}: the path is empty.")
        for path in values:
            if isinstance(path, str):
                expect_path(Path(path))
