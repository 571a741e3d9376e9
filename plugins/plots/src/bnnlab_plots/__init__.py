"""Pictures of what runs recorded. They need matplotlib: the extra `plot`."""

from bnnlab_plots.accuracy import plot_accuracy
from bnnlab_plots.diagnosis import plot_diagnosis
from bnnlab_plots.figure import save
from bnnlab_plots.weights import plot_weights

__all__ = ["plot_accuracy", "plot_diagnosis", "plot_weights", "save"]
