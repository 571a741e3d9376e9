"""What this plugin offers: no component, but what `kernels = compiled` uses. Imports no Numba."""

from bnnlab.registry.components import Component
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer none: the core imports `bnnlab_kernels.compiled` where a run asks for it."""
    return []
