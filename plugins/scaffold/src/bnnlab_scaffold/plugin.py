"""What this plugin offers. Imports no jinja2."""

from bnnlab.registry.components import Command
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the command that writes a new plugin."""
    return [Command("new-plugin", "bnnlab_scaffold.commands:new_plugin", "Write a new plugin.")]
