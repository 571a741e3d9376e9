"""What this plugin offers. Imports no wandb."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the tracker."""
    return [
        Component(
            kind=Kind.TRACKER,
            name="wandb",
            target="bnnlab_wandb.tracker:WandB",
            summary="Weights & Biases: curves, tables, histograms and pictures, online or offline.",
            source="Biewald, 'Experiment Tracking with Weights and Biases', 2020",
        )
    ]
