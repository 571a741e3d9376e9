"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Command
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the command."""
    return [Command("docs", "bnnlab_docs.commands:docs", "Open the documents in a browser.")]
