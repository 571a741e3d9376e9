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
            target="bnnlab_studies.local:Local",
            summary="Worker processes on this machine.",
            source="concurrent.futures of Python",
        )
    ]


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the commands."""
    home = "bnnlab_studies.commands"
    return [
        Command("runs", f"{home}.runs:runs", "List the runs in a folder."),
        Command("show", f"{home}.show:show", "Show a run: its figures and its settings."),
        Command("compare", f"{home}.compare:compare", "Compare cells of runs, by pairs of seeds."),
        Command("sweep", f"{home}.sweep:sweep", "Run all cells of a sweep file."),
    ]
