"""A study as notebooks and `print` show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from statistics import fmean
from typing import Any

from bnnlab.engine.figures import Score, aligned
from bnnlab.engine.html import Cell, matrix_html, stacked, table
from bnnlab.errors import UsageError
from bnnlab_studies.comparing import note
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Summary
from bnnlab_studies.tables import Units, cut_note, interval, text


@dataclass(frozen=True)
class Overview:
    """The means of a study, with the figures that the command line prints.

    Of one cell: all measures. Of several: the chief measures of each.

    Attributes:
        study: The `Study`, whose class shows itself by this one.
    """

    study: Any

    def html(self) -> str:
        """Return them as HTML; of one cell, also the mean of the accuracy matrices."""
        parts = [f"<b>{escape(self._head)}</b>"]
        if len(self.study.cells) == 1 and (matrix := _mean(self._complete)):
            parts += [
                f"{self._score.label}, mean over the seeds",
                matrix_html(matrix, [], self._score),
            ]
        parts += [table(rows, heads, score=self._score) for heads, rows in self._tables]
        return stacked([*parts, *map(escape, self._below)])

    def text(self) -> str:
        """Return them as lines of text; where there are none, why."""
        try:
            below = self._below
        except UsageError as error:
            return f"{self._head}. {error}"
        tables = [
            aligned([heads, *([_plain(cell, self._score) for cell in row] for row in rows)])
            for heads, rows in self._tables
        ]
        return "\n".join([self._head, *tables, *below])

    @cached_property
    def _found(self) -> dict[str, dict[str, Summary]]:
        return {name: self.study.summary(name) for name in self.study.told}

    @cached_property
    def _complete(self) -> list[Record]:
        return [run for run in self.study if run.is_complete]

    @property
    def _score(self) -> Score:
        score: Score = self.study.score
        return score

    @property
    def _head(self) -> str:
        cells = f"{len(self.study.cells)} cell{'s' * (len(self.study.cells) != 1)}"
        complete = f"{len(self._complete)} of {len(self.study)} runs complete"
        return f"{self.study.name or 'study'}: {cells}, {complete}"

    @property
    def _below(self) -> list[str]:
        every = ((it, each) for it, its in self._found.items() for each in its.values())
        cut = cut_note(every, self._score, self.study.units)
        return [*filter(None, (cut, note(self.study), str(self.study.folder or "")))]

    @property
    def _tables(self) -> list[tuple[tuple[str, ...], list[list[Cell]]]]:
        """Heads and rows: of one cell one table of its measures, of several one per measure."""
        heads = ("n", "mean", "std", "95 % interval")
        named = {it: self.study.heading(it) for it in self._found}
        lines = {
            it: {cell: _figures(it, of, self._score, self.study.units) for cell, of in its.items()}
            for it, its in self._found.items()
        }
        if len(self.study.cells) == 1:
            rows = [[named[it], *row] for it, its in lines.items() for row in its.values()]
            return [(("measure", *heads), rows)] if rows else []
        return [
            ((named[it], *heads), [[cell, *row] for cell, row in its.items()])
            for it, its in lines.items()
        ]


def _plain(cell: Cell, score: Score) -> str:
    return cell if isinstance(cell, str) else "-" if cell is None else score.number(cell)


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
