"""What this plugin offers. Imports no torch and no scipy."""

from bnnlab.registry.components import Command
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the commands."""
    home = "bnnlab_claims.commands"
    return [
        Command("claims", f"{home}.claims:claims", "List published figures beside our own."),
        Command("reproduce", f"{home}.reproduce:reproduce", "Measure a claim again."),
    ]
