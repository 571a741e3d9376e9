"""What numbers a network predicts over one input, and how far its weight draws are apart."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnlab.interfaces.prediction import RealPrediction
from bnnlab_plots.figure import SMALL, new_figure, score, scored_on
from bnnlab_plots.landscape import UNITS, Landscape, landscape
from bnnlab_plots.uncertainty import DARK, LIGHT, STRONG

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEVIATIONS = (2, 1)
"""Half widths of the bands, in standard deviations."""


def plot_band(run: Path, **objects: Any) -> "Figure":
    """Return a picture of the numbers that a run predicts over its one input.

    A panel per number. Of a run with a posterior: the mean of its weight draws, a band of one and
    of two standard deviations over the draws, and what the deployed weights predict; the noise of
    the data is not in the band. Without a posterior, the line that the deployed weights predict.
    The grid goes beyond the points on both sides.

    Args:
        run: The run's folder.
        objects: The objects that the run was given, by their kinds: `stream=...`.

    Raises:
        UsageError: As in `plot_regions`.
    """
    found = landscape(run, 1, RealPrediction, objects)
    count = found.targets.shape[1]
    figure = new_figure(0.9 + 3.2 * count)
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for number, axes in enumerate(panels):
        _draw(axes, found, number)
        axes.set_ylabel("target" if count == 1 else f"target {number + 1}")
    panels[-1].set_xlabel("input")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
        fontsize=SMALL, title_fontsize=SMALL,
        title=f"Axes: {UNITS}; targets as they are learned.",
    )  # fmt: skip
    of = score(run)
    scores = ", ".join(f"{of.text(view.score)} by the {view.name}" for view in found.views)
    notes = [*found.notes, f"{scored_on(run)} {of.name} {scores}"]
    figure.suptitle("\n".join(notes), fontsize=10)
    return figure


def _draw(axes: "Axes", found: Landscape[RealPrediction], number: int) -> None:
    (side,), last = found.sides, found.views[-1]
    if len(found.views) > 1:
        mean = last.grid.outputs[:, number].double().numpy()
        deviation = last.grid.variances[:, number].double().sqrt().numpy()
        for times, alpha in zip(DEVIATIONS, (0.25, 0.35), strict=True):
            label = f"\u00b1 {times} standard deviation{'s' * (times > 1)} over the draws"
            ends = mean - times * deviation, mean + times * deviation
            axes.fill_between(side, *ends, color=LIGHT, alpha=alpha, linewidth=0, label=label)
        axes.plot(side, mean, color=DARK, label=last.name)
    deployed = found.views[0].grid.outputs[:, number].numpy()
    axes.plot(side, deployed, "--", color=STRONG, linewidth=1, label=found.views[0].name)
    axes.plot(
        found.points[:, 0], found.targets[:, number], ".", color="black", markersize=3,
        label="training points",
    )  # fmt: skip
    axes.set_xlim(side[0], side[-1])
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="0.9")
