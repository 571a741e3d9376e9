"""A study as notebooks show it."""

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean

from bnnlab.engine.figures import Score, score_of
from bnnlab.engine.html import Cell, matrix_html, stacked, table
from bnnlab_studies.cells import tasks_of
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Summary
from bnnlab_studies.tables import Units, cut_note, heading, interval, text


def study_html(
    name: str,
    cells: Mapping[str, Sequence[Record]],
    found: Mapping[str, Mapping[str, Summary]],
    notes: Sequence[str],
    units: Units,
) -> str:
    """Return the means of a study as HTML, with the figures that the command line prints.

    Of one cell: the mean of the accuracy matrices, and all measures. Of several: the chief measures
    of each.

    Args:
        name: Of the study.
        cells: The runs of each cell.
        found: Per measure, its summary by cell.
        notes: What is said below; empty ones are left out.
        units: What is declared of measures.
    """
    runs = [run for each in cells.values() for run in each]
    complete = [run for run in runs if run.is_complete]
    tasks, score = tasks_of(complete), score_of(*(run.result for run in runs))
    count = f"{len(cells)} cell{'s' * (len(cells) != 1)}, {len(complete)} of {len(runs)}"
    parts = [f"<b>{escape(name)}: {count} runs complete</b>"]
    heads = ("n", "mean", "std", "95 % interval")
    if len(cells) == 1:
        (cell,) = cells
        if matrix := _mean(complete):
            parts += [f"{score.label}, mean over the seeds", matrix_html(matrix, [], score)]
        rows = [
            [heading(it, score, tasks), *_figures(it, its[cell], score, units)]
            for it, its in found.items()
        ]
        parts.append(table(rows, ("measure", *heads), score=score))
    else:
        for it, its in found.items():
            rows = [[cell, *_figures(it, its[cell], score, units)] for cell in cells]
            parts.append(table(rows, (heading(it, score, tasks), *heads), score=score))
    every = ((it, each) for it, its in found.items() for each in its.values())
    cut = cut_note(every, score, units)
    return stacked([*parts, *map(escape, filter(None, (cut, *notes)))])


def _figures(name: str, found: Summary, score: Score, units: Units) -> list[Cell]:
    is_coloured = name.endswith("accuracy") and found.mean is not None
    mean = found.mean if is_coloured else text(name, found.mean, score)
    std = text(name, found.std, score, digits=2)
    return [str(found.count), mean, std, interval(name, found, score, units=units)]


def _mean(runs: Sequence[Record]) -> list[list[float | None]]:
    """Return the mean accuracy matrix of the runs of the first one's protocol, if it has tasks."""
    matrices = [r.result["accuracy"] for r in runs if r["protocol"] == runs[0]["protocol"]]
    if not matrices or len(matrices[0]) == 1:
        return []
    return [
        [None if None in cell else fmean(cell) for cell in zip(*rows, strict=True)]
        for rows in zip(*matrices, strict=True)
    ]
