"""Pictures of what runs recorded and learned. matplotlib is imported when one is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnlab_plots.accuracy import plot_accuracy as plot_accuracy
    from bnnlab_plots.band import plot_band as plot_band
    from bnnlab_plots.compare import plot_compare as plot_compare
    from bnnlab_plots.confusion import plot_confusion as plot_confusion
    from bnnlab_plots.diagnosis import plot_diagnosis as plot_diagnosis
    from bnnlab_plots.figure import save as save
    from bnnlab_plots.regions import plot_regions as plot_regions
    from bnnlab_plots.uncertainty import plot_uncertainty as plot_uncertainty
    from bnnlab_plots.weights import plot_weights as plot_weights

_HOMES = {
    "plot_accuracy": "accuracy",
    "plot_band": "band",
    "plot_compare": "compare",
    "plot_confusion": "confusion",
    "plot_diagnosis": "diagnosis",
    "plot_regions": "regions",
    "plot_uncertainty": "uncertainty",
    "plot_weights": "weights",
    "save": "figure",
}

__all__ = list(_HOMES)


if not TYPE_CHECKING:  # checkers would take any name for one that there is

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'bnnlab_plots' has no attribute {name!r}")
        return getattr(import_module(f"bnnlab_plots.{_HOMES[name]}"), name)
