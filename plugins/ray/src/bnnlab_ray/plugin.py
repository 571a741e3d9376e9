"""What this plugin offers. Imports no ray."""

from bnnlab.registry.components import Component
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the engine."""
    return []
