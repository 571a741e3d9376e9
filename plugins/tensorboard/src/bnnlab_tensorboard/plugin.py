"""What this plugin offers. Imports no tensorboard."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the tracker."""
    return [
        Component(
            kind=Kind.TRACKER,
            name="tensorboard",
            target="bnnlab_tensorboard.tracker:TensorBoard",
            summary="TensorBoard: event files with curves, histograms, pictures and settings.",
            source="Abadi et al., 'TensorFlow: Large-Scale Machine Learning', 2015",
        )
    ]
