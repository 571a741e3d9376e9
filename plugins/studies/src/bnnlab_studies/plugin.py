"""What this plugin offers. Imports no torch and no scipy."""

from bnnlab.registry.components import Command
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the commands."""
    return []
