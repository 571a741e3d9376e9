"""Cells of runs compared with the first of them: what `bnn compare` computes, as a picture."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Any

from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import STUDIES
from bnnlab_plots.figure import (
    SMALL,
    difference,
    integer_ticks,
    looks,
    marked,
    new_figure,
    plain,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bnnlab.engine.figures import Score
    from bnnlab_studies.record import Record
    from bnnlab_studies.statistics import Comparison
    from bnnlab_studies.study import Study

MEASURE = "average_accuracy"


def plot_compare(
    cells: "Sequence[Path] | Study", measure: str = MEASURE, across_protocols: bool = False
) -> "Figure":
    """Return a picture of cells of runs, compared with the first of them.

    On top, if there are several tasks: the average accuracy on the tasks learned, over the tasks.
    Below, a row per cell: its runs, with the mean; and its difference from the first cell, by pairs
    of runs with the same seed. All intervals are 95 % intervals over the seeds. Of a study of one
    cell, no differences are drawn.

    Args:
        cells: Places as `bnn compare` takes them, or a study.
        measure: What is compared, as for `bnn compare`.
        across_protocols: Whether runs of different protocols are compared, too.

    Raises:
        UsageError: If bnnlab-studies or matplotlib is not installed; and as in `bnn compare`.
    """
    if isinstance(cells, list | tuple):
        host = PluginHost()
        study = host.library(STUDIES, "bnnlab_studies.gathering:gather")(cells, host)
    else:
        study = cells
    alone = not isinstance(cells, list | tuple) and len(study.cells) == 1
    from bnnlab_studies.comparing import expect_measured, protocols, weakness
    from bnnlab_studies.tables import possible

    expect_measured(measure, study)
    found = [] if alone else study.compare(measure, across_protocols)
    comparisons = [possible(measure, each, study.score, study.units) for each in found]
    names = {cell: plain(cell) for cell in study.cells}
    described = [run.result["protocol_description"] for run in protocols(study).values()]
    differ = len(described) > 1
    if differ:
        for cell, runs in study.cells.items():
            hashes = ", ".join(protocols(runs)) or "not known"
            names[cell] += f" (protocol {hashes})"
    notes = [
        _title(study, measure, comparisons),
        difference(described) if differ else None,
        weakness(comparisons),
    ]
    return _draw(study, measure, comparisons, names, filter(None, notes))


def _draw(
    study: "Study",
    measure: str,
    comparisons: "Sequence[Comparison]",
    names: Mapping[str, str],
    notes: Iterable[str],
) -> "Figure":
    curves = {cell: _averages(runs) for cell, runs in study.cells.items()}
    tasks = max(len(rows) for rows in curves.values())
    wrapped = [fill(name, 26) for name in names.values()]
    rows = sum(max(2, text.count("\n") + 1) for text in wrapped)
    heights = [*[3.0] * (tasks > 1), 1.0 + 0.19 * rows]
    figure = new_figure(sum(heights) + 0.5)
    parts = [*figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]]
    if tasks > 1:
        _draw_curves(parts[0].subplots(), curves, tasks, study.score)
    panels = parts[-1].subplots(1, 1 + bool(comparisons), sharey=True, squeeze=False)[0]
    _draw_values(panels[0], study, measure)
    if comparisons:
        _draw_differences(panels[1], study, measure, comparisons)
    panels[0].set_yticks(range(len(wrapped)), wrapped, fontsize=SMALL)
    panels[0].set_ylim(len(wrapped) - 0.5, -0.5)
    for axes in panels:
        axes.tick_params(labelsize=SMALL)
        axes.xaxis.label.set_size(SMALL + 1)
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
    figure.suptitle("\n".join(notes), fontsize=9)
    return figure


def _title(study: "Study", measure: str, found: "Sequence[Comparison]") -> str:
    """Return the comparison in one line; of several, what they are about."""
    from bnnlab_studies.tables import sentence

    name = study.heading(measure).removesuffix(" %")
    if not found:
        return name
    several = f"{len(found)} cells compared with {found[0].first}"
    said = several if len(found) > 1 else sentence(measure, found[0], study.score)
    return plain(fill(f"{name}: {said}", 100))


def _averages(runs: "Sequence[Record]") -> "list[list[float]]":
    """Return per task learned, per run that counts, the average accuracy on the tasks learned.

    There is none after a task where not all of these were evaluated.
    """
    complete = [run for run in runs if run.is_complete]
    own = [run for run in complete if run["protocol"] == complete[0]["protocol"]]
    matrices = [run.result["accuracy"] for run in own]
    count = min(map(len, matrices), default=0)
    seen = [[rows[n][: n + 1] for rows in matrices] for n in range(count)]
    return [[fmean(row) for row in rows if None not in row] for rows in seen]


def _draw_curves(
    axes: "Axes", curves: Mapping[str, list[list[float]]], tasks: int, score: "Score"
) -> None:
    import numpy as np  # the command's help needs none of it

    from bnnlab_studies.statistics import summarise
    from bnnlab_studies.tables import possible

    for number, rows in enumerate(curves.values()):
        found = [possible(MEASURE, summarise(values), score) for values in rows]
        after, look = range(1, len(found) + 1), looks(number)
        ends = [(each.mean, each.low, each.high) for each in found]
        means, low, high = score.factor * np.array(ends, dtype=float).reshape(-1, 3).T
        axes.plot(after, means, **look, **marked(means))
        axes.fill_between(after, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axes.set(
        xlabel="tasks learned (colours and marks: as below; bands: 95 % intervals)",
        ylabel=f"average {score.name}\non the tasks learned" + " (%)" * score.is_share,
        xlim=(0.5, tasks + 0.5),
        **({"ylim": (0, 102)} if score.is_share else {}),
    )
    integer_ticks(axes.xaxis)
    axes.grid(axis="y", color="0.9")


def _draw_values(axes: "Axes", study: "Study", measure: str) -> None:
    """Draw a row per cell: a ring per run; the mean and its interval."""
    from bnnlab_studies.cells import by_seed
    from bnnlab_studies.tables import possible

    scale = _scale(measure, study.score)
    for place, (cell, found) in enumerate(study.summary(measure).items()):
        look = looks(place)
        values, _ = by_seed(study.cells[cell], measure)
        seeds = [scale * value for value in values.values()]
        axes.plot(seeds, [place + 0.22] * len(seeds), "o", color="0.55", mfc="none", markersize=4)
        ends = possible(measure, found, study.score, study.units)
        _draw_interval(axes, place, found.mean, ends, scale, look)
    axes.set_xlabel(f"{study.heading(measure)}\n(rings: runs; mean, 95 % interval)")


def _draw_differences(
    axes: "Axes", study: "Study", measure: str, found: "Sequence[Comparison]"
) -> None:
    from bnnlab_studies.tables import heading_of_difference, interval, p_value, text

    scale = _scale(measure, study.score)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.text(1.02, 0, "reference", transform=axes.get_yaxis_transform(), **_BESIDE)
    for place, each in enumerate(found, start=1):
        _draw_interval(axes, place, each.difference, each, scale, looks(place))
        size = text(measure, each.difference, study.score, sign=True)
        ends = "" if each.low is None else f" ({interval(measure, each, study.score, sign=True)})"
        p = each.p_t if each.p_holm is None else each.p_holm
        tested = each.note if p is None else f"{len(each.seeds)} pairs, p {p_value(p)}"
        beside = f"{size}{ends}\n{fill(tested, 30)}" if each.seeds else each.note
        axes.text(1.02, place, beside, transform=axes.get_yaxis_transform(), **_BESIDE)
    kind = "p: paired t-test" + (", Holm" if len(found) > 1 else "")
    name = heading_of_difference(study.heading(measure))
    axes.set_xlabel(f"{name}\n(to the first; 95 % interval; {kind})")


_BESIDE: dict[str, Any] = {"va": "center", "fontsize": SMALL}


def _draw_interval(
    axes: "Axes", place: float, mean: float | None, of: Any, scale: float, look: dict[str, Any]
) -> None:
    """Draw a mean, and its interval where it has one."""
    if mean is None:
        return
    if of.low is not None:
        axes.plot([scale * of.low, scale * of.high], [place] * 2, color=look["color"], linewidth=2)
    axes.plot([scale * mean], [place], color=look["color"], marker=look["marker"], markersize=6)


def _scale(measure: str, score: "Score") -> float:
    from bnnlab_studies.tables import is_fraction

    return 100 if is_fraction(measure, score) else 1
