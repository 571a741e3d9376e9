"""What this plugin offers. Imports no matplotlib."""

from bnnlab.registry.components import Command
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the command that draws."""
    return [Command("plot", "bnnlab_plots.commands:app", "Draw what runs recorded.")]
