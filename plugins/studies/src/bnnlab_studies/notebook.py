"""A study as notebooks show it."""

from collections.abc import Sequence
from html import escape
from statistics import fmean

from bnnlab.engine.html import Cell, matrix_html, stacked, table
from bnnlab_studies.comparing import note
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Summary
from bnnlab_studies.study import Study
from bnnlab_studies.tables import heading, interval, text


def study_html(study: Study) -> str:
    """Return the means of a study as HTML, with the figures that the command line prints.

    Of one cell: the mean of the accuracy matrices, and all measures. Of several: the chief measures
    of each.
    """
    complete, count = sum(run.is_complete for run in study), len(study.cells)
    cells = f"{count} cell{'s' * (count != 1)}, {complete} of {len(study)} runs complete"
    parts = [f"<b>{escape(study.name or 'study')}: {cells}</b>"]
    found = {name: study.summary(name) for name in study.told}
    heads = ("n", "mean", "std", "95 % interval")
    if len(study.cells) == 1:
        ((cell, runs),) = study.cells.items()
        if matrix := _mean([run for run in runs if run.is_complete]):
            parts += ["accuracy in %, mean over the seeds", matrix_html(matrix, [])]
        rows = [[heading(name), *_figures(name, its[cell])] for name, its in found.items()]
        parts.append(table(rows, ("measure", *heads)))
    else:
        for name, its in found.items():
            rows = [[cell, *_figures(name, its[cell])] for cell in study.cells]
            parts.append(table(rows, (heading(name), *heads)))
    parts += [escape(each) for each in (note(study), str(study.folder or "")) if each]
    return stacked(parts)


def _figures(name: str, found: Summary) -> list[Cell]:
    is_coloured = name.endswith("accuracy") and found.mean is not None
    mean = found.mean if is_coloured else text(name, found.mean)
    return [str(found.count), mean, text(name, found.std, digits=2), interval(name, found)]


def _mean(runs: Sequence[Record]) -> list[list[float | None]]:
    """Return the mean accuracy matrix of the runs of the first one's protocol, if it has tasks."""
    matrices = [r.result["accuracy"] for r in runs if r["protocol"] == runs[0]["protocol"]]
    if not matrices or len(matrices[0]) == 1:
        return []
    return [
        [None if None in cell else fmean(cell) for cell in zip(*rows, strict=True)]
        for rows in zip(*matrices, strict=True)
    ]
