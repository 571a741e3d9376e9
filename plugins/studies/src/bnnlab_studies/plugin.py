"""What this plugin offers. Imports no torch and no scipy."""

from bnnlab.registry.components import Command, Component, Kind
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the engine."""
    return [
        Component(
            kind=Kind.ENGINE,
            name="local",
            target="bnnlab_studies.engine:Local",
            summary="Worker processes on this machine.",
            source="concurrent.futures of Python",
        )
    ]


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the commands."""
    return [
        Command("sweep", "bnnlab_studies.commands.sweep:sweep", "Run all cells of a sweep file."),
    ]
