"""What this plugin offers. Imports neither torch nor pytest."""

from bnnlab.registry.components import Command
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the command."""
    home = "bnnlab_testing.command:run_contracts"
    return [Command("test-plugin", home, "Test a plugin by the contracts of what it offers.")]
