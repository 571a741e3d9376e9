"""Which class a network predicts where, over two inputs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnlab.interfaces.prediction import Prediction, entropy
from bnnlab_plots.figure import COLOURS, MARKERS, SMALL, new_figure, plain, score, scored_on
from bnnlab_plots.landscape import UNITS, Landscape, Numbers, landscape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SURE = 0.9
"""Probability of the predicted class at the dashed lines."""

_STRONGEST = 0.75
"""Of the colours of regions, so that points of the same class are seen on them."""


def plot_regions(run: Path, **objects: Any) -> "Figure":
    """Return a picture of the classes that a run predicts over its two inputs.

    A panel for the deployed weights, and of a run with a posterior one for the mean probabilities
    of its weight draws, and one for how much the draws disagree: the entropy of their mean minus
    the mean of their entropies, in bits. The grid goes beyond the points on all sides.

    Args:
        run: The run's folder.
        objects: The objects that the run was given, by their kinds: `stream=...`.

    Raises:
        UsageError: If the run has other inputs or targets, has not ended, or cannot be made again
            from its folder; or if matplotlib is not installed.
    """
    found = landscape(run, 2, Prediction, objects)
    of = score(run)
    several = len(found.views) > 1
    figure = new_figure(3.3 if several else 4.5)
    panels = figure.subplots(1, 1 + 2 * several, sharex=True, sharey=True, squeeze=False)[0]
    for axes, view in zip(panels, found.views, strict=False):
        probabilities = _square(view.grid.probabilities)
        _draw_classes(axes, found, probabilities)
        reached = f"{scored_on(run)} {of.name} {of.text(view.score)}"
        axes.set_title(f"{view.name}\n{reached}", fontsize=SMALL + 1)
    _add_key(figure, panels[: len(found.views)], found, probabilities.shape[-1])
    if several:
        _draw_disagreement(figure, panels[-1], found)
    for axes in panels:
        axes.set_xlabel("input 1", fontsize=SMALL + 1)
        axes.tick_params(labelsize=SMALL)
    panels[0].set_ylabel("input 2", fontsize=SMALL + 1)
    figure.suptitle("\n".join(found.notes), fontsize=10)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=8,
        fontsize=SMALL, title_fontsize=SMALL,
        title=f"Training points. Axes: {UNITS}. Dashed: probability {SURE:g}.",
    )  # fmt: skip
    return figure


def _square(values: Any) -> Numbers:
    """Return values at all points of the grid, in its rows and columns."""
    side = round(len(values) ** 0.5)
    square: Numbers = values.double().numpy().reshape(side, side, *values.shape[1:])
    return square


def _draw_classes(axes: "Axes", found: Landscape[Prediction], probabilities: Numbers) -> None:
    """Draw the colour of the predicted class, the paler the less sure; and borders."""
    classes = probabilities.shape[-1]
    best = probabilities.argmax(-1)
    axes.imshow(_shaded(best, probabilities.max(-1), classes), **_fit(found))
    for number in range(classes - 1):
        others = np.delete(probabilities, number, -1).max(-1)
        ahead = probabilities[..., number] - others
        axes.contour(*found.sides, ahead, levels=[0], colors="black", linewidths=1)
    axes.contour(
        *found.sides, probabilities.max(-1), levels=[SURE], colors="0.25", linewidths=0.7,
        linestyles="dashed",
    )  # fmt: skip
    _draw_points(axes, found)


def _shaded(which: Numbers, sure: Numbers, classes: int) -> Numbers:
    """Return the colours of classes, from white at chance to their own where they are certain."""
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(COLOURS[n % len(COLOURS)]) for n in range(classes)])
    share = np.clip((sure - 1 / classes) / (1 - 1 / classes), 0, 1)[..., None]
    shaded: Numbers = 1 - share * _STRONGEST * (1 - colours[which])
    return shaded


def _fit(found: Landscape[Prediction]) -> dict[str, Any]:
    """Return how an image is drawn, so that each point of the grid is the middle of a cell."""
    (left, right), (low, high) = (
        (side[0] - (side[1] - side[0]) / 2, side[-1] + (side[1] - side[0]) / 2)
        for side in found.sides
    )
    extent = (left, right, low, high)
    return {"origin": "lower", "aspect": "auto", "interpolation": "bilinear", "extent": extent}


def _draw_points(axes: "Axes", found: Landscape[Prediction]) -> None:
    names = _names(found, 1 + int(found.targets.max()))
    for number in np.unique(found.targets):
        axes.plot(
            *found.points[found.targets == number].T,
            MARKERS[number % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            markersize=3,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=names[number],
        )


def _add_key(figure: Any, panels: Any, found: Landscape[Prediction], classes: int) -> None:
    """Add a bar of the colours: of two classes from one to the other, else of how sure they are."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    names = _names(found, classes)
    if classes == 2:
        p = np.linspace(0, 1, 256)
        colours = _shaded((p > 0.5).astype(int), np.maximum(p, 1 - p), 2)
        label = f"probability of class {names[1]}"
    else:
        p = np.linspace(1 / classes, 1, 256)
        colours = 1 - _STRONGEST * np.linspace(0, 1, 256)[:, None].repeat(3, 1)
        label = "probability of the predicted class"
    shades = ScalarMappable(Normalize(p[0], 1), ListedColormap(colours))
    bar = figure.colorbar(shades, ax=list(panels), pad=0.02)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def _names(found: Landscape[Prediction], classes: int) -> list[str]:
    """Return the names of the classes, or their numbers."""
    return [plain(name) for name in found.class_names] or [*map(str, range(classes))]


def _draw_disagreement(figure: Any, axes: "Axes", found: Landscape[Prediction]) -> None:
    """Draw the mutual information of the predicted class and the weights."""
    averaged = found.views[-1].grid
    bits = _square((entropy(averaged.probabilities) - averaged.entropies).clamp_min(0))
    image = axes.imshow(bits, cmap="Greys", vmin=0, vmax=max(bits.max(), 0.01), **_fit(found))
    _draw_points(axes, found)
    axes.set_title("disagreement\nof the draws", fontsize=SMALL + 1)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("mutual information (bits)", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
