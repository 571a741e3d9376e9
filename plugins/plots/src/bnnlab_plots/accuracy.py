"""Accuracy of each task over time, the accuracy matrix, and several runs side by side."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnlab.errors import UsageError
from bnnlab_plots.figure import (
    COLOURS,
    MARKERS,
    SMALL,
    Source,
    difference,
    integer_ticks,
    looks,
    marked,
    marks,
    name_of,
    new_figure,
    plain,
    reading,
    recorded,
    result,
    score,
    scored_on,
    shades,
    spread,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from bnnlab.engine.figures import Score

MAPS = 6
"""Accuracy matrices in a picture of several runs."""
NAMED = 20
"""Tasks in a legend."""
READING = "discs: the next task, not learned yet; white: not measured"


def plot_accuracy(runs: Sequence[Source]) -> "Figure":
    """Return a picture of a run's accuracies, or of several runs side by side.

    Of one run: the accuracy on each task over the tasks learned, and the accuracy matrix; if it has
    one task only, the accuracy on it, beside those after its epochs. Of several runs: the average
    over the tasks seen, the latest accuracy on each of them, and the first six matrices, if there
    are several tasks; runs of different protocols have their hash beside their name. A run that has
    not ended is shown as far as it came.

    Raises:
        UsageError: If a run has evaluated nothing, or matplotlib is not installed.
    """
    return _plot_one(runs[0]) if len(runs) == 1 else _plot_several(runs)


def _plot_one(run: Source) -> "Figure":
    of = score(run)
    matrix = _matrix(run, of)
    learned, tasks = matrix.shape
    if tasks == 1:
        return _plot_task(run, float(matrix[0, 0]), of)
    figure = new_figure(8.5)
    upper, lower = figure.subplots(2, 1, height_ratios=(2, 3))
    for task, colour in enumerate(shades(learned)):
        look: dict[str, Any] = {"color": colour, "marker": MARKERS[task % len(MARKERS)]}
        after = range(task + 1, learned + 1)
        upper.plot(after, matrix[task:, task], markersize=4, label=f"task {task + 1}", **look)
    measured = f"{scored_on(run)} {of.name}{_unit(of)}"
    _finish_lines(upper, tasks, "tasks learned", measured, of)
    handles = [upper.lines[task] for task in spread(learned, NAMED)]
    upper.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=SMALL)
    image = _draw_matrix(lower, matrix, of, inches=4.2)
    lower.set(xlabel=f"on task\n({READING})", ylabel="after task")
    figure.colorbar(image, ax=lower, label=measured)
    ended = "" if learned == tasks else f"\n{learned} of {tasks} tasks learned"
    figure.suptitle(title(run) + ended, fontsize=10)
    return figure


def _plot_task(run: Source, found: float, of: "Score") -> "Figure":
    """Draw the score on the one task of a run, and those that it logged after its epochs."""
    lines = recorded(run, "epoch")
    figure = new_figure(3.5)
    axes = figure.subplots()
    part = f"{scored_on(run)} part: {of.text(found / of.factor)}"
    axes.axhline(found, color="black", linewidth=0.8, label=part)
    with reading(run):
        epochs = [int(line["epoch"]) + 1 for line in lines]
        for number, name in enumerate(("train", "validation")):
            values = [line.get(f"{name}_accuracy") for line in lines]
            if any(value is not None for value in values):
                shown = of.factor * np.array(values, dtype=float)
                label = f"{name.replace('train', 'training')} part, after each epoch"
                axes.plot(epochs, shown, label=label, **looks(number), **marks(len(epochs)))
    axes.set(xlabel="epoch", ylabel=f"{of.name}{_unit(of)}", **_whole(of))
    if epochs:
        axes.set_xlim(0.5, epochs[-1] + 0.5)
        integer_ticks(axes.xaxis)
    else:
        axes.set(xticks=[], xlabel="")
    axes.grid(axis="y", color="0.9")
    axes.legend(fontsize=SMALL, loc="lower right")
    figure.suptitle(title(run), fontsize=10)
    return figure


def _plot_several(runs: Sequence[Source]) -> "Figure":
    of = score(*runs)
    matrices = [_matrix(run, of) for run in runs]
    names, note = _names(runs, of)
    most = max(matrix.shape[1] for matrix in matrices)
    measured = " or ".join(sorted({*map(scored_on, runs)})) + f" {of.name}{_unit(of)}"
    if most == 1:
        return _plot_bars([float(each[0, 0]) for each in matrices], names, measured, note, of)
    mapped = min(len(runs), MAPS)
    rows = -(-mapped // 3)
    figure = new_figure(5.5 + 2.4 * rows + 0.17 * len(runs))
    places: list[Any] = [["average"] * 3, ["latest"] * 3]
    places += [[str(3 * row + column) for column in range(3)] for row in range(rows)]
    panels = figure.subplot_mosaic(places, height_ratios=[2.5, 2.5] + [2.2] * rows)
    upper, middle = panels["average"], panels["latest"]
    for number, (matrix, name) in enumerate(zip(matrices, names, strict=True)):
        look, tasks = looks(number), np.arange(1, len(matrix) + 1)
        averages = np.array([matrix[n - 1, :n].mean() for n in tasks])
        finals = matrix[-1, : len(tasks)]
        upper.plot(tasks, averages, label=name, **look, **marked(averages))
        middle.plot(tasks, finals, linewidth=0.8, **look, **marked(finals))
    average = f"average {of.name}\non the tasks learned{_unit(of)}"
    latest = f"{of.name} after the\nlast task learned{_unit(of)}"
    _finish_lines(upper, most, "tasks learned", average, of)
    _finish_lines(middle, most, "on task", latest, of)
    maps = [panels[place] for row in places[2:] for place in row]
    for number, axes in enumerate(maps):
        if number >= mapped:
            axes.set_axis_off()
            continue
        image = _draw_matrix(axes, matrices[number], of, inches=1.7)
        axes.set_title(fill(names[number], 32), fontsize=SMALL)
        axes.tick_params(labelsize=SMALL)
        axes.set_xlabel("on task", fontsize=SMALL)
        axes.set_ylabel("after task", fontsize=SMALL)
    bar = figure.colorbar(image, ax=maps, label=measured, shrink=0.9)
    bar.ax.tick_params(labelsize=SMALL)
    notes = [READING]
    if mapped < len(runs):
        notes.insert(0, f"matrices of the first {mapped} of {len(runs)} runs")
    figure.supxlabel("; ".join(notes), fontsize=SMALL)
    figure.legend(loc="outside upper center", fontsize=SMALL + 1, title=note)
    return figure


def _plot_bars(
    found: Sequence[float], names: Sequence[str], measured: str, note: str | None, of: "Score"
) -> "Figure":
    """Draw the scores of runs of one task each."""
    figure = new_figure(1.3 + 0.35 * len(names))
    axes = figure.subplots()
    bars = axes.barh(range(len(names)), found, color=COLOURS[5])
    shown = [of.number(each / of.factor) for each in found]
    axes.bar_label(bars, shown, padding=3, fontsize=SMALL)
    axes.set_yticks(range(len(names)), [fill(name, 50) for name in names], fontsize=SMALL)
    axes.set(xlabel=measured, ylim=(len(names) - 0.5, -0.5))
    if of.is_share:
        axes.set_xlim(0, 108)
    if note:
        figure.suptitle(note, fontsize=SMALL + 2)
    return figure


def _unit(of: "Score") -> str:
    return " (%)" if of.is_share else ""


def _whole(of: "Score") -> dict[str, Any]:
    """Return the limits of an axis with all scores that there may be, where these have limits."""
    return {"ylim": (0, 102)} if of.is_share else {}


def _matrix(run: Source, of: "Score") -> "NDArray[np.float64]":
    """Return the matrix as it is shown, a row per task learned, NaN where not measured."""
    lines = recorded(run, "evaluation")
    if not lines:
        raise UsageError(f"{name_of(run)} has not learned a task yet: there is no accuracy to draw")
    with reading(run):
        rows = np.array([line["accuracy"] for line in lines], dtype=np.float64)
        learned, tasks = rows.shape
        if learned > tasks:
            raise ValueError(f"{learned} evaluations of {tasks} tasks")
    return of.factor * rows


def _names(runs: Sequence[Source], of: "Score") -> tuple[list[str], str | None]:
    """Return what tells the runs apart, and a note if their protocols differ."""
    names = [name_of(run) for run in runs]
    if len(set(names)) < len(names):
        names = [plain(str(run)) if isinstance(run, Path) else name_of(run) for run in runs]
    parts = [scored_on(run) for run in runs]
    if len(set(parts)) > 1:
        names = [f"{name} ({part} {of.name})" for name, part in zip(names, parts, strict=True)]
    results = [result(run) for run in runs]
    protocols = [its.get("protocol") for its in results]
    if len(set(protocols)) > 1:
        hashes = [each or "not known yet" for each in protocols]
        names = [f"{n} (protocol {p})" for n, p in zip(names, hashes, strict=True)]
    told = {its.get("protocol"): its.get("protocol_description", {}) for its in results if its}
    return names, difference([*told.values()]) if len(told) > 1 else None


def _finish_lines(axes: "Axes", tasks: int, below: str, beside: str, of: "Score") -> None:
    axes.set(xlabel=below, ylabel=beside, xlim=(0.5, tasks + 0.5), **_whole(of))
    integer_ticks(axes.xaxis)
    axes.grid(axis="y", color="0.9")


def _draw_matrix(
    axes: "Axes", matrix: "NDArray[np.float64]", of: "Score", inches: float
) -> "AxesImage":
    """Draw a matrix about so wide as a heat map, with numbers where they fit its cells."""
    from matplotlib.patches import Circle

    learned, tasks = matrix.shape
    square = np.full((tasks, tasks), np.nan)
    square[:learned] = np.where(np.tri(learned, tasks), matrix, np.nan)
    edges = (0.5, tasks + 0.5, tasks + 0.5, 0.5)
    image = axes.imshow(square, cmap="viridis", vmin=0, vmax=of.factor, extent=edges)
    integer_ticks(axes.xaxis, axes.yaxis)
    points = 72 * inches / tasks
    decimals = int(points >= 25)
    size = min(SMALL + 1, points * (0.3 if decimals else 0.42))
    for after, on in np.argwhere(~np.isnan(matrix)):
        value, place = matrix[after, on], (on + 1, after + 1)
        if on > after:
            axes.add_patch(Circle(place, 0.45, color=image.to_rgba(value)))
        if points >= 12:
            colour = "white" if value < 0.6 * of.factor else "black"
            text = of.number(value / of.factor, digits=decimals)
            axes.text(*place, text, ha="center", va="center", fontsize=size, color=colour)
    return image
