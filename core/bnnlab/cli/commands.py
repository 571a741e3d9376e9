"""The commands of `bnn`: the core's, and those that plugins add."""

import logging
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from bnnlab.errors import UsageError, printable
from bnnlab.registry.commands import Command
from bnnlab.registry.host import PluginHost, does_not_load

log = logging.getLogger(__name__)

PANEL = "Commands of plugins"


class Commands(TyperGroup):
    """The core's commands come first, so that no plugin replaces one.

    Where the core or two plugins have the same name, a plugin's command is called
    `DISTRIBUTION/NAME`. It is imported when it is called; lists show its summary.
    """

    @cached_property
    def _added(self) -> dict[str, Command]:
        """Commands of plugins, by name; if plugins cannot be read: empty, with a warning."""
        try:
            offers = PluginHost().commands()
        except UsageError as error:  # of BNNLAB_ONLY or of the user's registry.toml
            log.warning("commands of plugins are not listed: %s", error)
            return {}
        taken = Counter([*self.commands, *(command.name for _, command in offers)])
        names = (
            command.name if taken[command.name] == 1 else f"{plugin.distribution}/{command.name}"
            for plugin, command in offers
        )
        return dict(zip(names, (command for _, command in offers), strict=True))

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
        if name in self.commands:
            return super().resolve_command(ctx, args)
        try:
            return name, _load(name, self.commands), rest
        except UsageError:
            if ctx.resilient_parsing:  # a word is being completed: there is nothing to say
                return None, None, rest
            raise


def _load(name: str, own: Iterable[str]) -> Any:
    """Import the command of a plugin, and make it a typer command.

    Raises:
        UsageError: If there is no such command, or it cannot be loaded; the plugin is named.
    """
    host = PluginHost()
    plugin, command = host.resolve_command(name, own)
    target = host.load(plugin, command)
    parent = typer.Typer(rich_markup_mode="rich")
    try:
        if isinstance(target, typer.Typer):
            parent.add_typer(target, name=command.name)
        else:
            parent.command(command.name)(target)
        return typer.main.get_group(parent).commands[command.name]
    except Exception as error:  # whatever typer does not understand in it
        raise does_not_load(plugin, command, error) from error
