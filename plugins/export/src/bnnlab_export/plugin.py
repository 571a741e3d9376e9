"""What this plugin offers. Imports no torch."""

from typing import Any

from bnnlab.registry.components import Command, Section
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the command that exports a run's model."""
    return [Command("export", "bnnlab_export.commands:export", "Write a run's model as one file.")]


@hookimpl
def bnnlab_model_described(model: Any) -> Section:
    """Say what a file of the model would have."""
    from bnnlab_export.preview import section

    return section(model)
