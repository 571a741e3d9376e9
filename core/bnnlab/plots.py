"""Pictures of what a run recorded. Needs matplotlib: the extra `plot`."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnlab.errors import UsageError

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
    rows = [each for each in _metrics(run) if each["event"] == "diagnosis"]
    if not rows:
        raise UsageError(f"{run} recorded no diagnosis: run it with --set diagnose=true")
    figure = _figure()
    upper, middle, lower = figure.subplots(3, 1, sharex=True)
    steps = [row["step"] for row in rows]
    colours = _colours(len(rows[0]["segments"]))
    for number, colour in enumerate(colours):
        of_segment = [row["segments"][number] for row in rows]
        label = f"segment {number + 1}"
        for axes, values in (
            (upper, [each["angle"] for each in of_segment]),
            (middle, [_ratio(each["norm"], each["exact_norm"]) for each in of_segment]),
            (lower, [each["window"] for each in of_segment]),
        ):
            if any(value is not None for value in values):
                shown = [float("nan") if value is None else value for value in values]
                axes.plot(steps, shown, ".-", color=colour, label=label)
    upper.set(ylabel=_ANGLES, ylim=(-3, None))
    upper.axhline(90, color="grey", linewidth=0.8, linestyle=":")
    middle.set(ylabel=_NORMS, yscale="log")
    lower.set(ylabel=_WINDOWS, ylim=(0, 1), xlabel="optimizer steps")
    lower.xaxis.get_major_locator().set_params(integer=True)
    if not lower.lines:
        lower.text(0.5, 0.5, "no sign activation", ha="center", transform=lower.transAxes)
    _part_tasks([upper, middle, lower], rows)
    columns = -(-len(colours) // 20)  # twenty names fit beside the panels
    figure.legend(
        *upper.get_legend_handles_labels(), loc="outside right upper", fontsize=8, ncols=columns
    )
    figure.suptitle(_title(run), fontsize=10)
    return figure


def save(figure: "Figure", file: Path) -> None:
    """Write a picture in the format that the file's name ends with, PNG or SVG, say.

    Raises:
        UsageError: If there is no such format, or the file cannot be written.
    """
    formats = figure.canvas.get_supported_filetypes()
    if file.suffix[1:] not in formats:
        raise UsageError(f"{file}: end the name with one of .{', .'.join(sorted(formats))}")
    try:
        figure.savefig(file, dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _figure() -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("plots need matplotlib: pip install 'bnnlab[plot]'") from error
    return Figure(figsize=(7.5, 6), layout="constrained")


def _metrics(run: Path) -> list[dict[str, Any]]:
    file = run / "metrics.jsonl"
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UsageError(f"{run} is no run's folder: there is no {file.name} to read") from error
    except ValueError as error:
        raise UsageError(f"{file} is damaged: {error}") from error


def _title(run: Path) -> str:
    try:
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the run has not ended
        return run.name
    names = [
        result["components"][kind]["name"] for kind in ("rule", "optimizer", "model", "stream")
    ]
    return " + ".join(names) + f", seed {result['seed']}"


def _colours(count: int) -> list[Any]:
    """Return colours from dark to light, in the order of the segments, told apart when grey."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.9 * number / max(1, count - 1)) for number in range(count)]


def _ratio(norm: float | None, exact: float | None) -> float | None:
    return norm / exact if norm is not None and exact else None


def _part_tasks(panels: "Sequence[Axes]", rows: list[dict[str, Any]]) -> None:
    for before, after in pairwise(rows):
        if before["task"] != after["task"]:
            for axes in panels:
                axes.axvline(before["step"], color="grey", linewidth=0.8)
