"""The progress of a study in the terminal."""

import math

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from bnnlab.cli.console import error_console, line
from bnnlab.engine.figures import score_of
from bnnlab_studies.cells import tasks_of
from bnnlab_studies.job import Job, Outcome
from bnnlab_studies.record import Record
from bnnlab_studies.study import MEASURE
from bnnlab_studies.tables import heading


class Watch:
    """A progress bar on standard error, and one line per run that ends.

    Attributes:
        progress: Shows the bar while it is entered.
        faults: Why runs are not complete, by their names.
    """

    def __init__(self, runs: int, quiet: bool) -> None:
        self.faults: dict[str, str] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=error_console(),
            transient=True,
            disable=quiet,
            speed_estimate_period=math.inf,  # those of parallel runs come in bursts
        )
        self._quiet = quiet
        self._bar = self.progress.add_task("runs", total=runs)
        self.progress.advance(self._bar, 0)  # so that the first run has taken time, too

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Print how a run ended, and move the bar."""
        if not outcome.is_done:
            self.faults[job.name] = outcome.error or "a signal stopped it"
        if not self._quiet:
            self.progress.console.print(line(f"{job.name}: {_told(job, outcome)}"))
            self.progress.advance(self._bar)


def _told(job: Job, outcome: Outcome) -> str:
    if not outcome.is_done:
        return outcome.status
    run = Record.read(job.folder)
    accuracy, seconds = run.get(MEASURE), f"{run['seconds']:.1f} s"
    if accuracy is None:
        return f"{outcome.status} after {seconds}"
    score = score_of(run.result)
    name = heading(MEASURE, score, tasks_of([run])).removesuffix(" %")
    return f"{name} {score.text(accuracy)}, {seconds}"
