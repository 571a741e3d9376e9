"""What this plugin offers. Imports no jinja2."""

from bnnlab.registry.components import Command
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the command that writes reports."""
    return [Command("report", "bnnlab_report.commands:report", "Write what runs found as HTML.")]
