"""How a run's gradients compared with the exact ones."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnlab.errors import UsageError
from bnnlab_plots.figure import (
    integer_ticks,
    new_figure,
    plain_ticks,
    reading,
    recorded,
    shades,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ANGLES = "angle to the exact\ngradient (degrees)"
_NORMS = "norm over that of\nthe exact gradient"
_WINDOWS = "sums inside the\nsurrogate's window"


def plot_diagnosis(run: Path) -> "Figure":
    """Return a picture of how a run's gradients compared with the exact ones, segment by segment.

    Three panels over the optimizer's steps: the angle, the ratio of norms, and the share of
    pre-activations that the surrogate gradient lets through; tasks are parted by vertical lines.

    Raises:
        UsageError: If the run recorded no diagnosis, or matplotlib is not installed.
    """
    rows = recorded(run, "diagnosis")
    if not rows:
        raise UsageError(f"{run} recorded no diagnosis: run it with --diagnose")
    with reading(run):
        steps = [row["step"] for row in rows]
        segments = list(zip(*(row["segments"] for row in rows), strict=True))  # each over the steps
    figure = new_figure(6)
    upper, middle, lower = figure.subplots(3, 1, sharex=True)
    colours = shades(len(segments))
    for number, (colour, of_segment) in enumerate(zip(colours, segments, strict=True), start=1):
        label = f"segment {number}"
        for axes, values in (
            (upper, [each["angle"] for each in of_segment]),
            (middle, [_ratio(each["norm"], each["exact_norm"]) for each in of_segment]),
            (lower, [each["window"] for each in of_segment]),
        ):
            if any(value is not None for value in values):
                shown = [float("nan") if value is None else value for value in values]
                axes.plot(steps, shown, ".-", color=colour, label=label)
    upper.axhline(90, color="grey", linewidth=0.8, linestyle=":")
    upper.set(ylabel=_ANGLES, ylim=(-3, None))  # after the line at 90, so that it is in view
    middle.set(ylabel=_NORMS, yscale="log")
    plain_ticks(middle.yaxis)
    lower.set(ylabel=_WINDOWS, ylim=(0, 1), xlabel="optimizer steps")
    integer_ticks(lower.xaxis)
    if not lower.lines:
        lower.text(0.5, 0.5, "no sign activation", ha="center", transform=lower.transAxes)
    _part_tasks([upper, middle, lower], rows)
    columns = -(-len(colours) // 20)  # twenty names fit beside the panels
    figure.legend(
        *upper.get_legend_handles_labels(), loc="outside right upper", fontsize=8, ncols=columns
    )
    figure.suptitle(title(run), fontsize=10)
    return figure


def _ratio(norm: float | None, exact: float | None) -> float | None:
    return norm / exact if norm is not None and exact else None


def _part_tasks(panels: "Sequence[Axes]", rows: list[dict[str, Any]]) -> None:
    for before, after in pairwise(rows):
        if before["task"] != after["task"]:
            for axes in panels:
                axes.axvline(before["step"], color="grey", linewidth=0.8)
