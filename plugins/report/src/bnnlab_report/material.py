"""What a report is made of: runs as bnnlab-studies reads them, and what each of them logged."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from bnnlab.engine.figures import Score
from bnnlab.errors import UsageError, explain, first_line
from bnnlab.storage.folder import METRICS, RESULT, read_metrics
from bnnlab_report.naming import best_of, briefly, log, protocols_of, renamed, told_apart
from bnnlab_studies.cells import by_seed, few, tasks_of
from bnnlab_studies.comparing import compare_cells, expect_measured, expect_no_copies
from bnnlab_studies.gathering import gather
from bnnlab_studies.record import Record
from bnnlab_studies.statistics import Comparison, Summary, summarise
from bnnlab_studies.study import MEASURE, Study
from bnnlab_studies.tables import possible

Lines = Sequence[Mapping[str, Any]]
"""Of a run's metrics.jsonl."""


@dataclass(frozen=True)
class Material:
    """Runs in cells, and the measure that they are judged by.

    Attributes:
        study: The runs.
        measure: Name of the measure.
        places: What was asked for.
        noticed: What bnnlab-studies warned of while it read.
        best: Name of the cell that `bnn tune` found best; empty if the runs are no study of it.
        faults: What is damaged, by the name of the run or measure; found as the report is made.
    """

    study: Study
    measure: str = MEASURE
    places: Sequence[Path] = ()
    noticed: Sequence[str] = ()
    best: str = ""
    faults: dict[str, str] = field(default_factory=dict)
    _lines: dict[Path, Lines] = field(default_factory=dict)

    @classmethod
    def read(cls, places: Sequence[Path], measure: str = MEASURE) -> "Material":
        """Read the runs in several places.

        Raises:
            UsageError: If a place holds no run, a run is there twice, two runs of a cell have the
                same seed, or no run has the measure.
        """
        with warnings_of(log) as noticed:
            study = told_apart(briefly(gather(places)))
            best = best_of(places, study)
        first, *others = study.cells
        if best:  # beside the first one, so that both are drawn
            study = renamed(study, {cell: cell for cell in (first, best, *others)})
        expect_no_copies(study)
        if any(run.is_complete for run in study):
            expect_measured(measure, study)
        for runs in study.cells.values():
            by_seed(runs, measure)
        return cls(study, measure, places, noticed, best)

    @property
    def score(self) -> Score:
        """What the runs report per task."""
        return self.study.score

    @property
    def cells(self) -> dict[str, list[Record]]:
        """The runs of each cell, by its name."""
        return self.study.cells

    @cached_property
    def counted(self) -> dict[str, list[Record]]:
        """The runs of each cell that count: complete ones of the cell's protocol."""
        return {
            cell: [
                run for run in runs if run.is_complete and run["protocol"] == self.protocols[cell]
            ]
            for cell, runs in self.cells.items()
        }

    @cached_property
    def protocols(self) -> dict[str, str]:
        """The protocol's hash of each cell, that of its first complete run; empty without one."""
        return protocols_of(self.study)

    @cached_property
    def looks(self) -> dict[str, int]:
        """The number of each cell's colour and marker."""
        return {cell: number for number, cell in enumerate(self.cells)}

    @cached_property
    def tasks(self) -> int:
        """The most tasks that a run has; 0 if no run is complete."""
        return tasks_of(run for runs in self.counted.values() for run in runs)

    @property
    def title(self) -> str:
        """What the measure is called in a sentence, without its unit."""
        return self.study.heading(self.measure).removesuffix(" %")

    def values(self, cell: str, measure: str) -> dict[int, float]:
        """Return a cell's values of a measure by seed."""
        return self._by_seed(cell, measure)[0]

    def summary(self, cell: str, measure: str) -> Summary:
        """Return the mean of a measure over the runs of a cell; its interval is cut."""
        values, missing = self._by_seed(cell, measure)
        mean = summarise([*values.values()], missing)
        return possible(measure, mean, self.score, self.study.units)

    def _by_seed(self, cell: str, measure: str) -> tuple[dict[int, float], list[str]]:
        """Return values by seed, and what has none; a measure that is no number has a fault."""
        try:
            return by_seed(self.cells[cell], measure)
        except UsageError as error:
            self.faults[measure] = first_line(error)
            return {}, []

    @cached_property
    def comparisons(self) -> tuple[list[Comparison], str]:
        """The cells compared with the first, as far as their protocol is its; and why not all.

        Of a study of `bnn tune` it is the best trial alone: many trials would hide one another.
        """
        first, *others = self.cells
        if not others:
            return [], ""
        if first == self.best:
            return [], f"{first}, the first trial, is the best one"
        alike = {
            cell: self.cells[cell]
            for cell in (first, *([self.best] if self.best else others))
            if self.protocols[cell] in ("", self.protocols[first])
        }
        if len(alike) == 1:
            return [], f"no other cell has the protocol of the first one, {first}"
        try:
            found = compare_cells(alike, self.measure)
            how = self.score, self.study.units
            return [possible(self.measure, each, *how) for each in found], ""
        except UsageError as error:
            return [], str(error)

    def metrics(self, run: Record) -> Lines:
        """Return the lines of a run's metrics.jsonl; none where they were not kept or are damaged.

        What is damaged is in `faults`.
        """
        if run.folder is None or not (run.folder / METRICS).exists():
            return []
        if run.folder not in self._lines:
            try:
                self._lines[run.folder] = read_metrics(run.folder)
            except UsageError as error:
                self.faults[run.name] = first_line(error)
                self._lines[run.folder] = []
        return self._lines[run.folder]

    @contextmanager
    def reading(self, run: Record) -> Iterator[None]:
        """Note that a run's files are damaged, if what they hold is not as runs write it."""
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            self.faults[run.name] = f"{METRICS} or {RESULT} is damaged: {explain(error)}"


def lacking(material: Material, cells: Sequence[str]) -> str:
    """Return a sentence on the cells that are not among these; empty if none lacks."""
    lost = [cell for cell in material.cells if cell not in cells]
    return f" Not measured: {few(lost, ', ')}." if lost else ""


@contextmanager
def warnings_of(logger: logging.Logger) -> Iterator[list[str]]:
    """Collect the warnings of a logger in the block; they are shown as ever."""
    found: list[str] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Collecting(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def mean_of(measure: str, values: Sequence[float | None], score: Score) -> Summary:
    """Return the mean of those values of a measure that are there, and finite."""
    there = [value for value in values if value is not None and isfinite(value)]
    return possible(measure, summarise(there), score)
