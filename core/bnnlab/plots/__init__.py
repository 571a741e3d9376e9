"""Pictures of what runs recorded. They need matplotlib: the extra `plot`."""

from bnnlab.plots.accuracy import plot_accuracy
from bnnlab.plots.diagnosis import plot_diagnosis
from bnnlab.plots.figure import save
from bnnlab.plots.weights import plot_weights

__all__ = ["plot_accuracy", "plot_diagnosis", "plot_weights", "save"]
