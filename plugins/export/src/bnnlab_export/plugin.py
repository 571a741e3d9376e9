"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Command
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the command that exports a run's model."""
    return [Command("export", "bnnlab_export.commands:export", "Write a run's model as one file.")]
