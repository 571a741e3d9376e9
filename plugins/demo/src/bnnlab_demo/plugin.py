"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Command
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the command."""
    return [
        Command("demo", "bnnlab_demo.commands:demo", "Compare three methods in half a minute."),
    ]
