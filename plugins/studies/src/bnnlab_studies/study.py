"""Runs grouped in cells: their means, and cells compared with one another."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from bnnlab.engine.figures import Score, score_of
from bnnlab.errors import UsageError
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import PLOTS
from bnnlab.storage.files import write_atomically
from bnnlab_studies import statistics
from bnnlab_studies.cells import by_seed, group, tasks_of, telling
from bnnlab_studies.comparing import (
    compare_cells,
    expect_measured,
    expect_no_copies,
    expect_one_protocol,
)
from bnnlab_studies.finding import find_records
from bnnlab_studies.notebook import Overview
from bnnlab_studies.record import Record, expect_measure
from bnnlab_studies.results import units_of
from bnnlab_studies.statistics import Comparison, Summary
from bnnlab_studies.tables import csv_text, heading

if TYPE_CHECKING:
    from bnnlab import Result

TABLE = "runs.csv"
"""The table in the folder of a study."""
MEASURE = "average_accuracy"
"""What cells are judged by, if nothing else is said."""
CHIEF = (MEASURE, "forgetting")
"""The measures that are shown of several cells."""


class Study(Sequence[Record]):
    """Runs in cells: those of one cell differ in the seed only. `print` shows their means.

    Args:
        records: The runs, in the order in which they are shown.
        name: Of the study.
        folder: With the runs; None if they have none.
        results: Of the runs that this process made, with their models.
        host: The plugins, whose probes declare what measures can be; if none is given, all.
    """

    def __init__(
        self,
        records: Iterable[Record],
        *,
        name: str = "",
        folder: Path | None = None,
        results: Iterable["Result"] = (),
        host: PluginHost | None = None,
    ) -> None:
        self.records, self.results = [*records], [*results]
        self.name, self.folder, self.host = name, folder, host or PluginHost()

    @classmethod
    def read(cls, folder: Path | str, host: PluginHost | None = None) -> "Study":
        """Read the runs in a folder: of a study, of a cell, a single run, or kept results.

        Raises:
            UsageError: If there is none.
        """
        place = Path(folder)
        return cls(find_records(place), name=place.resolve().name, folder=place, host=host)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        return self.records[place]

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def units(self) -> dict[str, str]:
        """Unit or range of each measure that is declared."""
        return units_of(self.host)

    @cached_property
    def cells(self) -> dict[str, list[Record]]:
        """The runs of each cell by its name: that of the plan, or what differs between cells."""
        return group(self.records)

    @cached_property
    def measures(self) -> list[str]:
        """Names of what the complete runs measured and is one number."""
        return [*dict.fromkeys(name for run in self if run.is_complete for name in run.measures)]

    @cached_property
    def score(self) -> Score:
        """What its runs report per task."""
        return score_of(*(run.result for run in self.records))

    @property
    def told(self) -> list[str]:
        """The measures that are shown: of one cell, all that differ; of several, the chief ones."""
        told = telling(self.measures, self)
        return told if len(self.cells) == 1 else [name for name in told if name in CHIEF]

    def heading(self, measure: str) -> str:
        """Return what a measure of these runs is called at the head of a column, with its unit."""
        return heading(measure, self.score, tasks_of(self))

    def summary(self, measure: str = MEASURE) -> dict[str, Summary]:
        """Return the mean of a measure in each cell, over its complete runs.

        Raises:
            UsageError: If no run has the measure, it is no number, two runs of a cell have the same
                seed, or one run is there twice.
        """
        expect_measure(measure, self.records)
        expect_no_copies(self.records)
        return {
            cell: statistics.summarise([*values.values()], missing)
            for cell, runs in self.cells.items()
            for values, missing in [by_seed(runs, measure)]
        }

    def compare(self, measure: str = MEASURE, across_protocols: bool = False) -> list[Comparison]:
        """Compare every other cell with the first, by pairs of runs with the same seed.

        Raises:
            UsageError: As in `compare_cells`, `expect_measured` and `summary`, or if protocols
                differ and `across_protocols` is not set.
        """
        expect_measured(measure, self.records)
        expect_no_copies(self.records)
        if not across_protocols:
            expect_one_protocol(self.cells)
        return compare_cells(self.cells, measure)

    def plot(self, measure: str = MEASURE, across_protocols: bool = False) -> Any:
        """Return a matplotlib figure: the cells, compared with the first one.

        Raises:
            UsageError: If bnnlab-plots is not installed; and as in `compare`.
        """
        return self.host.library(PLOTS, "bnnlab_plots:plot_compare")(
            self, measure, across_protocols
        )

    def __repr__(self) -> str:
        return Overview(self).text()

    def _repr_html_(self) -> str:
        return Overview(self).html()

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per run: its cell, and what `Record.row` has."""
        return [{"cell": cell, **run.row()} for cell, runs in self.cells.items() for run in runs]

    def to_csv(self, path: Path | str | None = None) -> str:
        """Return the `rows` as CSV in full precision, and write them to a file, if one is named."""
        text = csv_text(self.rows())
        if path is not None:
            write_atomically(Path(path), text.encode(errors="backslashreplace"))
        return text

    def to_frame(self) -> Any:
        """Return the `rows` as a pandas DataFrame.

        Raises:
            UsageError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError("to_frame needs pandas: `pip install pandas`") from error
        return pandas.DataFrame(self.rows())

    def as_dict(self) -> dict[str, Any]:
        """Return the study as plain data: per cell the summary of each measure; and the rows."""
        summaries = {measure: self.summary(measure) for measure in self.measures}
        cells = {
            cell: {measure: asdict(each[cell]) for measure, each in summaries.items()}
            for cell in self.cells
        }
        folder = str(self.folder) if self.folder else None
        return {"name": self.name, "folder": folder, "cells": cells, "runs": self.rows()}
