"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer no component yet."""
    return []
