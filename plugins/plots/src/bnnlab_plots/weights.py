"""What became of a run's weights: what is kept behind them, learned scales, flips."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnlab.errors import UsageError
from bnnlab_plots.figure import (
    SMALL,
    integer_ticks,
    new_figure,
    plain,
    reading,
    recorded,
    shades,
    spread,
    title,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

LAYERS = 16
"""Layers in a picture: what a tall page holds, as of a transformer of four blocks."""
TASKS = 8
"""Distributions in a panel: what can be told apart."""
DECADES = 30
"""From this ratio of the largest share of flips to the smallest on, the axis is logarithmic."""


def plot_weights(run: Path) -> "Figure":
    """Return a picture of a run's weights, a row of panels per layer, from input to output.

    From left to right: the distribution of what the method keeps behind the weights (latent
    weights, natural parameters; real weights themselves) after each task, from early, dark, to
    late, light; median, quartiles and range of the learned scale over the tasks; and the share of
    the weights whose sign each task changed. The first two are left out where no layer has them.
    Of more than `LAYERS` layers or `TASKS` distributions so many are shown, evenly chosen.

    Raises:
        UsageError: If the run recorded no weights, or matplotlib is not installed.
    """
    rows, evaluated = recorded(run, "weights"), recorded(run, "evaluation")
    if not rows:
        raise UsageError(
            f"{run} was recorded by an older version, which kept no record of weights: run it again"
            if evaluated
            else f"{run} has not learned a task yet: there are no weights to draw"
        )
    with reading(run):
        layers = list(zip(*(row["layers"] for row in rows), strict=True))  # per layer, per task
        tasks = [row["task"] + 1 for row in rows]
    shown = spread(len(layers), LAYERS)
    present = {key for layer in layers for each in layer for key in each if each[key] is not None}
    columns = [(key, draw) for key, draw in _COLUMNS.items() if key in present]
    if not columns:
        raise UsageError(f"{run} recorded layers without any number: there is nothing to draw")
    kept = "latent" in present
    figure = new_figure(1.5 + 1.15 * len(shown))
    panels = figure.subplots(len(shown), len(columns), squeeze=False)
    for number, row in zip(shown, panels, strict=True):
        row[0].set_title(plain(layers[number][0]["name"]), loc="left", fontsize=SMALL)
        for (key, draw), axes in zip(columns, row, strict=True):
            found = [each[key] for each in layers[number]]
            if all(each is None for each in found):
                axes.set_axis_off()
            else:
                draw(axes, tasks, found)
    if "flips" in present:
        shares = [each["flips"] for n in shown for each in layers[n]]
        _scale_flips(panels[:, -1], [100 * share for share in shares if share is not None])
    if kept:
        real = bool(evaluated) and evaluated[0]["flips"] is None
        panels[-1, 0].set_xlabel("weight" if real else "latent weight or natural parameter")
    _number_tasks(panels[:, int(kept) :], tasks)
    _add_legend(figure, panels)
    notes = [title(run)]
    if len(shown) < len(layers):
        notes.append(f"{len(shown)} of {len(layers)} layers are shown")
    if not kept:
        notes.append("the method keeps nothing behind the weights")
    figure.suptitle("\n".join(notes), fontsize=10)
    return figure


def _number_tasks(panels: "NDArray[Any]", tasks: Sequence[int]) -> None:
    for axes in panels.flat:
        axes.set_xlim(tasks[0] - 0.5, tasks[-1] + 0.5)
        integer_ticks(axes.xaxis)
    for axes in panels[-1]:
        axes.set_xlabel("task")


def _add_legend(figure: "Figure", panels: "NDArray[Any]") -> None:
    """Name once what several panels show, in letters that fit them."""
    handles: dict[str, Artist] = {}
    for axes in panels.flat:
        axes.tick_params(labelsize=SMALL)
        axes.xaxis.label.set_size(SMALL + 1)
        axes.yaxis.label.set_size(SMALL)
        drawn, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=4, fontsize=SMALL
        )


def _draw_latents(
    axes: "Axes", tasks: Sequence[int], found: Sequence[dict[str, Any] | None]
) -> None:
    chosen = spread(len(tasks), TASKS)
    for number, colour in zip(chosen, shades(len(chosen)), strict=True):
        histogram = found[number]
        if histogram:
            counts = np.array(histogram["counts"])
            edges = np.linspace(histogram["low"], histogram["high"], len(counts) + 1)
            density = counts / counts.sum() / np.diff(edges)
            label = f"after task {tasks[number]}"
            axes.stairs(density, edges, color=colour, linewidth=1.2, label=label)
    axes.set_ylabel("density")
    axes.locator_params(axis="x", nbins=5)


def _draw_scales(axes: "Axes", tasks: Sequence[int], found: Sequence[list[float] | None]) -> None:
    nothing = [float("nan")] * 5
    low, first, median, third, high = np.array([each or nothing for each in found]).T
    axes.vlines(tasks, low, high, color="0.7", linewidth=1.5, label="scale: range")
    axes.vlines(tasks, first, third, color="0.7", linewidth=5, label="scale: quartiles")
    axes.plot(tasks, median, ".-", color="black", label="scale: median")
    axes.set_ylabel("learned scale")


def _draw_flips(axes: "Axes", tasks: Sequence[int], found: Sequence[float | None]) -> None:
    shares = [float("nan") if share is None else 100 * share for share in found]
    axes.plot(tasks, shares, ".-", color="black", clip_on=False)
    axes.set_ylabel("flips (%)")


def _scale_flips(panels: Iterable["Axes"], shares: Sequence[float]) -> None:
    """Give the panels of all layers one axis, on which 0 can be seen."""
    from matplotlib.ticker import SymmetricalLogLocator

    smallest = min((share for share in shares if share > 0), default=0)
    wide = smallest > 0 and max(shares) / smallest >= DECADES
    for axes in panels:
        if wide:
            linear = 10 ** np.floor(np.log10(smallest))
            axes.set_yscale("symlog", linthresh=linear)
            ticks = SymmetricalLogLocator(base=10, linthresh=linear)
            ticks.set_params(numticks=4)
            axes.yaxis.set_major_locator(ticks)
        axes.set_ylim(0, (2 if wide else 1.1) * max(shares, default=0) or 1)


_COLUMNS: dict[str, Callable[["Axes", Sequence[int], Sequence[Any]], None]] = {
    "latent": _draw_latents,
    "scale": _draw_scales,
    "flips": _draw_flips,
}
