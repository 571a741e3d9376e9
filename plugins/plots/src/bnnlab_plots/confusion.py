"""Which classes a run takes for which, and its accuracy on each class over the tasks."""

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnlab.errors import UsageError
from bnnlab_plots.figure import (
    SMALL,
    WIDTH,
    Source,
    integer_ticks,
    learned,
    name_of,
    new_figure,
    plain,
    reading,
    recorded,
    result,
    scored_on,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

LARGEST = 200
"""Rows of a matrix that can be told apart in a picture."""
LISTED = 10
"""Confusions that are written out beside the matrix."""
LONGEST = 14
"""Letters of a class's name."""
WRAPPED = 28
"""Letters of a line beside the matrix."""
SHARE = "% of the examples of the class"


def plot_confusion(run: Source) -> "Figure":
    """Return a picture of the classes that a run takes for one another.

    The confusion matrix after the last task learned, over the examples of all tasks learned, as
    shares of the examples of each class, with the most frequent confusions beside it; rows of
    classes without examples are blank. Of more than `LARGEST` classes, several cells are drawn as
    one that has the largest of their shares. Below, if several tasks are learned, the accuracy on
    each class over the tasks.

    Raises:
        UsageError: If the run counted no confusions, or matplotlib is not installed.
    """
    lines = [line for line in recorded(run, "evaluation") if "class_accuracy" in line]
    if not lines:
        raise UsageError(
            f"{name_of(run)} recorded no confusion matrix so far: a run does so after each task, "
            "with --probe confusion (bnnlab-analysis)"
        )
    with reading(run):
        shares = np.array([line["class_accuracy"] for line in lines], dtype=float)
        tasks = [int(line["task"]) + 1 for line in lines]
        counts = _counts(run, lines[-1], shares.shape[1])
        notes = [title(run), *learned(lines)]
    return _draw(run, tasks, counts, 100 * shares, notes)


def _labels(run: Source, classes: int) -> list[str]:
    """Return the names of the classes; their numbers if the run has not ended or has no names."""
    names = result(run).get("class_names", ())
    if len(names) != classes:
        return [*map(str, range(classes))]
    short = (" ".join(each.split()) for each in names)
    return [plain(n if len(n) <= LONGEST else f"{n[: LONGEST - 1]}\u2026") for n in short]


def _counts(run: Source, line: dict[str, Any], classes: int) -> "NDArray[np.int64] | None":
    """Return the matrix of the last line, or None if it was too large to be written there."""
    cells = line["confusion"]
    if cells is None and result(run).get("status") == "stopped":
        cells = result(run)["confusion"]
    if cells is None:
        return None
    counts = np.zeros((classes, classes), dtype=np.int64)
    of_class, predicted, examples = np.array(cells).T
    counts[of_class, predicted] = examples
    return counts


def _draw(
    run: Source,
    tasks: list[int],
    counts: "NDArray[np.int64] | None",
    accuracy: "NDArray[np.float64]",
    notes: list[str],
) -> "Figure":
    several = len(tasks) > 1 or counts is None
    side = min(5.6, 2.4 + 0.4 * accuracy.shape[1])
    heights = [*[side] * (counts is not None), *[2.6] * several]
    figure = new_figure(sum(heights) + 0.6)
    parts = iter(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    labels = _labels(run, accuracy.shape[1])
    if counts is None:
        notes.append("the matrix was too large to be recorded before the last task")
    else:
        _draw_matrix(next(parts), counts, labels, scored_on(run), side)
    if several:
        _draw_classes(next(parts), tasks, accuracy, labels, scored_on(run))
    figure.suptitle("\n".join(notes), fontsize=10)
    return figure


def _draw_matrix(
    figure: Any, counts: "NDArray[np.int64]", labels: list[str], part: str, side: float
) -> None:
    """Draw the matrix, so many inches high, and beside it what is confused most often."""
    from matplotlib.colors import PowerNorm

    classes, every = len(counts), counts.sum(1, keepdims=True)
    percent = 100 * counts / np.where(every, every, np.nan)
    size = 72 * min(4.3, 1.4 + 0.4 * classes) / classes  # of a cell, in points
    is_numbered = size >= 12
    axes, beside = figure.subplots(1, 2, width_ratios=(side + 0.4, WIDTH - side - 0.4))
    _list_confusions(beside, counts, percent, labels)
    shown, step = _reduced(percent)
    edge = step * len(shown) - 0.5
    image = axes.imshow(
        shown,
        cmap="viridis",
        norm=PowerNorm(0.5, 0, 100),
        extent=(-0.5, edge, edge, -0.5),
        interpolation="nearest",
    )
    below = f"predicted class\n({counts.sum():,} {part} examples"
    below += f"; a cell shows the largest of {step} x {step})" if step > 1 else ")"
    axes.set(xlabel=below, ylabel="class", xlim=(-0.5, classes - 0.5), ylim=(classes - 0.5, -0.5))
    integer_ticks(axes.xaxis, axes.yaxis)
    if is_numbered:
        axes.set_yticks(range(classes), labels)
        axes.set_xticks(range(classes), labels, rotation=90 * any(len(it) > 3 for it in labels))
        _write_numbers(axes, percent, min(SMALL + 1, 0.36 * size))
    axes.tick_params(labelsize=SMALL)
    bar = figure.colorbar(image, ax=axes, label=SHARE, ticks=[0, 1, 5, 10, 25, 50, 100], shrink=0.8)
    bar.ax.tick_params(labelsize=SMALL)


def _reduced(percent: "NDArray[np.float64]") -> "tuple[NDArray[np.float64], int]":
    """Return the largest of each square of cells, and its side; 1 if all can be told apart."""
    classes = len(percent)
    step = -(-classes // LARGEST)
    if step == 1:
        return percent, step
    count = -(-classes // step)
    padded = np.full((count * step, count * step), -1.0)
    padded[:classes, :classes] = np.where(np.isnan(percent), -1.0, percent)
    largest = padded.reshape(count, step, count, step).max((1, 3))
    return np.where(largest < 0, np.nan, largest), step


def _write_numbers(axes: "Axes", percent: "NDArray[np.float64]", size: float) -> None:
    for of_class, predicted in np.argwhere(percent > 0):
        value = percent[of_class, predicted]
        colour = "white" if value < 56 else "black"
        text = f"{value:.0f}" if value >= 0.5 else "<1"
        axes.text(predicted, of_class, text, ha="center", va="center", fontsize=size, color=colour)


def _list_confusions(
    axes: "Axes",
    counts: "NDArray[np.int64]",
    percent: "NDArray[np.float64]",
    labels: list[str],
) -> None:
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    lines = ["most frequent confusions:", ""]
    for of_class, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if number := wrong[of_class, predicted]:
            share = percent[of_class, predicted]
            pair = f"{labels[of_class]} taken for {labels[predicted]}"
            line = f"{pair}: {number:,} ({share:.0f}\u00a0%)"
            lines.append(fill(line, WRAPPED, subsequent_indent="    "))
    axes.set_axis_off()
    axes.text(0, 1, "\n".join(lines), va="top", fontsize=SMALL, transform=axes.transAxes)


def _draw_classes(
    figure: Any, tasks: list[int], accuracy: "NDArray[np.float64]", labels: list[str], part: str
) -> None:
    axes = figure.subplots()
    edges = (tasks[0] - 0.5, tasks[-1] + 0.5, accuracy.shape[1] - 0.5, -0.5)
    shown = np.full((tasks[-1] - tasks[0] + 1, accuracy.shape[1]), np.nan)
    shown[np.array(tasks) - tasks[0]] = accuracy
    image = axes.imshow(
        shown.T, cmap="viridis", vmin=0, vmax=100, extent=edges, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    white = "white: no examples of the class, or not evaluated"
    axes.set(xlabel=f"tasks learned ({white})", ylabel="class")
    integer_ticks(axes.xaxis, axes.yaxis)
    if accuracy.shape[1] <= 10:
        axes.set_yticks(range(accuracy.shape[1]), labels)
    axes.tick_params(labelsize=SMALL)
    bar = figure.colorbar(image, ax=axes, label=f"{part} accuracy\non the class (%)")
    bar.ax.tick_params(labelsize=SMALL)
