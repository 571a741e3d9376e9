"""How far a run's predictions can be trusted: a reliability diagram, entropies, OOD detection."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnlab.errors import UsageError
from bnnlab_plots.figure import (
    SMALL,
    Source,
    integer_ticks,
    learned,
    marks,
    name_of,
    new_figure,
    reading,
    recorded,
    scored_on,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Numbers = np.ndarray[Any, np.dtype[np.float64]]
log = logging.getLogger("bnnlab.plots")  # below `bnnlab`, which the command line shows

LIGHT, DARK, STRONG = "#56B4E9", "#0072B2", "#D55E00"
"""Of Okabe and Ito's colours; grey, they are light, dark and between."""
ENTROPIES = {
    "entropy": ("entropy", "o-", "black"),
    "aleatoric": ("aleatoric part", "s--", DARK),
    "epistemic": ("epistemic part", "^:", STRONG),
}
DETECTION = {
    "ood_auroc": ("by the entropy", "o-", "black"),
    "ood_auroc_epistemic": ("by the epistemic part", "^:", STRONG),
}
NO_BINS = "no reliability diagram: an earlier version recorded no bins. Run it again to have one."


def plot_uncertainty(run: Source) -> "Figure":
    """Return a picture of how far a run's predictions can be trusted.

    After the last task learned, over the examples of all tasks learned: the reliability diagram,
    that is the accuracy in each bin of confidence, and below it how many examples are in the bin.
    Over the tasks: the entropy of the predictions and its parts, and how well inputs of no task are
    told apart, if that was measured. A run that has not ended is shown as far as it came. Of a run
    that recorded no bins, which was made by an earlier version, the diagram is left out; the
    picture and the log say so.

    Raises:
        UsageError: If the run measured no uncertainty, or matplotlib is not installed.
    """
    lines = [line for line in recorded(run, "evaluation") if line.get("uncertainty")]
    if not lines:
        raise UsageError(
            f"{name_of(run)} recorded no uncertainty so far: a run does so after each task, with "
            "a posterior or with --uncertainty"
        )
    with reading(run):
        tasks = [int(line["task"]) + 1 for line in lines]
        found = [line["uncertainty"] for line in lines]
        kinds = [*ENTROPIES, *(DETECTION if "ood_auroc" in found[-1] else ())]
        over = {kind: np.array([each[kind] for each in found], dtype=float) for kind in kinds}
        recorded_bins = found[-1].get("reliability", {}).items()
        bins = {name: np.array(values, dtype=float) for name, values in recorded_bins}
        error = float(found[-1]["ece"])
        of = learned(lines)
    heights = [*[4.4] * bool(bins), 2.4]
    figure = new_figure(sum(heights) + 0.6)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if bins:
        _draw_reliability(parts[0], bins, error, scored_on(run))
    else:
        log.warning("%s: %s", name_of(run), NO_BINS)
    _draw_over_tasks(parts[-1], tasks, over)
    notes = [title(run), *of, *[NO_BINS] * (not bins)]
    figure.suptitle("\n".join(notes), fontsize=10)
    return figure


def _draw_reliability(figure: Any, bins: Mapping[str, Numbers], error: float, part: str) -> None:
    counts = bins["count"].astype(int)
    confidence, accuracy = 100 * bins["confidence"], 100 * bins["accuracy"]
    width = 100 / len(counts)
    middles = width * (np.arange(len(counts)) + 0.5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 100], [0, 100], color="0.5", linestyle="--", label="accuracy = confidence")
    bars = {"width": width, "edgecolor": "white", "linewidth": 0.8}
    upper.bar(middles, accuracy, color=LIGHT, label="accuracy in the bin", **bars)
    upper.vlines(confidence, accuracy, confidence, color=STRONG, linewidth=2, label="gap")
    upper.plot(
        confidence, accuracy, "o", color=DARK, markersize=4, label="accuracy at the mean confidence"
    )
    said = f"ECE {100 * error:.1f} %, {counts.sum():,} examples"
    upper.set_title(said, loc="left", fontsize=SMALL + 2)
    upper.set(ylabel=f"{part} accuracy (%)", xlim=(0, 100), ylim=(0, 102))
    upper.legend(fontsize=SMALL, loc="upper left")
    lower.bar(middles, counts, color="0.45", **bars)
    lower.set(xlabel="confidence: probability of the predicted class (%)", ylabel="examples")
    for axes in (upper, lower):
        axes.set_axisbelow(True)
        axes.grid(axis="y", color="0.9")
    for place, number in zip(middles, counts.tolist(), strict=True):
        if number:
            at = (place, number)
            lower.annotate(f"{number:,}", at, ha="center", va="bottom", fontsize=SMALL - 1)
    lower.margins(y=0.2)


def _draw_over_tasks(figure: Any, tasks: Sequence[int], over: Mapping[str, Numbers]) -> None:
    """Draw entropies and, where it was measured, the detection of inputs of no task."""
    parts = [(ENTROPIES, "bits, mean over the examples")]
    if "ood_auroc" in over:
        parts.append((DETECTION, "OOD AUROC"))
    for axes, (kinds, beside) in zip(
        figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True
    ):
        for kind, (label, form, colour) in kinds.items():
            axes.plot(tasks, over[kind], form, color=colour, label=label, **marks(len(tasks)))
        most = max(over[kind].max() for kind in kinds)
        least = min(over[kind].min() for kind in kinds)
        if kinds is DETECTION:
            axes.axhline(0.5, color="grey", linewidth=0.8, label="chance")
            axes.set_ylim(min(0.45, least - 0.05), 1.02)
        else:
            axes.set_ylim(0, 1.1 * most or 1)
        axes.set(xlabel="tasks learned", xlim=(tasks[0] - 0.5, tasks[-1] + 0.5))
        axes.set_ylabel(beside, fontsize=SMALL + 1)
        integer_ticks(axes.xaxis)
        axes.grid(axis="y", color="0.9")
        axes.legend(fontsize=SMALL)
