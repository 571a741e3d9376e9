"""What this plugin offers. Imports no ray."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the engine."""
    return [
        Component(
            kind=Kind.ENGINE,
            name="ray",
            target="bnnlab_ray.engine:Ray",
            summary="Workers of a Ray cluster, local or existing.",
            source="Moritz et al., 'Ray: A Distributed Framework for Emerging AI', OSDI 2018",
        )
    ]
