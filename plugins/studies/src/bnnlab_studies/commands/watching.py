"""The progress of a study in the terminal."""

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from bnnlab.cli.console import error_console, line
from bnnlab_studies.job import Job, Outcome
from bnnlab_studies.record import Record


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
            _TimeLeft(),
            console=error_console(),
            transient=True,
            disable=quiet,
        )
        self._quiet = quiet
        self._bar = self.progress.add_task("runs", total=runs, ended=0.0)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Print how a run ended, and move the bar."""
        if not outcome.is_done:
            self.faults[job.name] = outcome.error or "a signal stopped it"
        if not self._quiet:
            self.progress.console.print(line(f"{job.name}: {_told(job, outcome)}"))
            self.progress.update(self._bar, advance=1, ended=time.monotonic())


def _told(job: Job, outcome: Outcome) -> str:
    if not outcome.is_done:
        return outcome.status
    run = Record.read(job.folder)
    accuracy, seconds = run.get("average_accuracy"), f"{run['seconds']:.1f} s"
    if accuracy is None:
        return f"{outcome.status} after {seconds}"
    return f"average accuracy {100 * accuracy:.1f} %, {seconds}"


class _TimeLeft(ProgressColumn):
    """The time left, if runs go on to end as often as they did until the last one ended.

    rich's own estimate is by the last few steps: those of parallel runs come in bursts.
    """

    def render(self, task: Task) -> Text:
        if not task.completed or task.start_time is None or task.total is None:
            return Text("-:--:--", style="progress.remaining")
        now, ended = time.monotonic(), task.fields["ended"]
        took = ended - task.start_time
        left = max(0.0, took * task.total / task.completed - (now - task.start_time))
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return Text(f"{hours}:{minutes:02}:{seconds:02}", style="progress.remaining")
