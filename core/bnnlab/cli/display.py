"""A run in the terminal: its progress, and at the end the accuracy matrix."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from bnnlab.cli.console import Part, error_console, line, print_out, table, terminal_width
from bnnlab.engine.figures import MOST, SHARE, Score, chosen, has_one_task, heading, score_of
from bnnlab.engine.result import ABSENT, told
from bnnlab.registry.hookspecs import hookimpl

if TYPE_CHECKING:  # a result can be shown without torch
    from bnnlab.engine.experiment import Experiment

REFRESH = 0.1  # seconds between updates of the bar


class Display:
    """A progress bar on standard error, and one line per learned task.

    Attributes:
        progress: Shows the bar while it is entered.
    """

    def __init__(self, experiment: "Experiment") -> None:
        self._epochs = [*map(experiment.made.epochs_of, experiment.made.tasks)]
        self._tasks = len(experiment.made.tasks)
        self._score = score_of({"score": experiment.made.tasks[0].objective.score})
        self._learned = ""
        self._drawn = 0.0
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=error_console(),
            transient=True,
        )
        self._bar = self.progress.add_task("starting", total=self._tasks)
        experiment.host.observe(self)

    def stepped(self, task: int, epoch: int, step: int, steps: int) -> None:
        """Draw the progress, a few times per second."""
        now = time.perf_counter()
        if now - self._drawn < REFRESH:
            return
        self._drawn = now
        done = task + (epoch + step / steps) / self._epochs[task]
        where = f"task {task + 1}/{self._tasks}  epoch {epoch + 1}/{self._epochs[task]}"
        self.progress.update(self._bar, completed=done, description=where + self._learned)

    @hookimpl
    def bnnlab_metrics_logged(self, metrics: Mapping[str, Any]) -> None:
        """Remember for the bar what was learned, and the score on the validation part, if any."""
        if metrics["event"] != "epoch":
            return
        trained, held = metrics.get("train_accuracy"), metrics.get("validation_accuracy")
        is_share = trained is not None
        said = f"accuracy {SHARE.text(trained)}" if is_share else f"loss {metrics['loss']:.3g}"
        if held is not None:
            name = "" if is_share else f"{self._score.name} "
            said += f", validation {name}{self._score.text(held)}"
        self._learned = f"  {said}"

    @hookimpl
    def bnnlab_task_ended(self, task: int, accuracy: Sequence[float | None]) -> None:
        """Print the accuracy after a task."""
        seen = [a for a in accuracy[: task + 1] if a is not None]
        score = self._score
        said = f"task {task + 1}/{self._tasks} learned"
        if seen:
            said += f": {score.name} {score.text(seen[-1])} on it"
        if len(seen) > 1:
            which = "all so far" if len(seen) > task else f"the last {len(seen)}"
            said += f", {score.text(sum(seen) / len(seen))} on average over {which}"
        self.progress.console.print(said, highlight=False)


def print_result(result: Mapping[str, Any], folder: Path | None) -> None:
    """Print what result.json holds to standard output: the accuracy matrix and the measures."""
    for part in result_lines(result):
        print_out(part)
    if folder:
        print_out(f"written to {folder}", soft_wrap=True)


def result_lines(result: Mapping[str, Any]) -> list[Table | Text]:
    """Return the accuracy matrix, if there are several tasks, and one line per measure.

    Args:
        result: What result.json holds, also that of an earlier version, or a part of it.
    """
    result = {**ABSENT, **result}
    parts: list[Table | Text] = []
    if not has_one_task(result):
        parts += [Text(heading(result)), matrix_table(result)]
    count = len(result["accuracy"])
    if count > (listed := len(_shown(count))):
        parts.append(Text(f"{listed} of {count} tasks are shown; result.json holds all."))
    rows = [(name, f"{shown:>7}", (meaning, "dim")) for name, shown, meaning in told(result)]
    parts.append(table((), rows))
    if reason := result.get("stop_reason"):
        parts.append(line(f"stopped by probe {reason}"))
    for name, versions in result.get("changed_versions", {}).items():
        parts.append(line(f"parts of this run used {name} {', '.join(versions)}"))
    if "protocol" not in result:
        return parts
    tail = f"protocol {result['protocol']}, seed {result['seed']}, {result['seconds']:.1f} s"
    return [*parts, line(tail)]


def _shown(count: int) -> list[int]:
    """Return the tasks to show: all, or as many as the terminal has room for, evenly chosen."""
    return chosen(count, max(2, min(MOST, (terminal_width() - 10) // 7)))


def matrix_table(result: Mapping[str, Any]) -> Table:
    """Return the matrix, an accuracy in per cent: row i after task i, column j tested on task j."""
    accuracy, every_flips, score = result["accuracy"], result["flips"], score_of(result)
    shown = _shown(len(accuracy))
    rows: list[list[Part]] = []
    for i in shown:
        flips = every_flips[i] if every_flips else None
        cells = [_cell(accuracy[i][j], score, past=j <= i) for j in shown]
        last: list[Part] = [("" if flips is None else SHARE.number(flips), "dim")]
        rows.append([f"task {i + 1}", *cells, *(last if every_flips else [])])
    heads = ["after", *(f"on {j + 1}" for j in shown), *(["flips"] if every_flips else [])]
    return table(heads, rows, numbers=len(heads) - 1)


def _cell(value: float | None, score: Score, past: bool) -> tuple[str, str]:
    if value is None:
        return "-", "dim"
    # From red (0, and below) to green (1); what was not learned yet is dim.
    share = max(value, 0.0)
    red, green = round(230 * (1 - share**2)) + 20, round(200 * share) + 20
    return score.number(value), f"rgb({red},{green},60)" if past else "dim"
