"""A run in the terminal: its progress, and at the end the accuracy matrix."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from bnnlab.cli.console import Part, error_console, line, print_out, table, terminal_width
from bnnlab.engine.continual import RECENT
from bnnlab.engine.result import ABOUT, ABSENT, MEASURES
from bnnlab.registry.hookspecs import hookimpl

if TYPE_CHECKING:  # a result can be shown without torch
    from bnnlab.engine.experiment import Experiment

REFRESH = 0.1  # seconds between updates of the bar
MOST = 10  # tasks in the matrix


class Display:
    """A progress bar on standard error, and one line per learned task.

    Attributes:
        progress: Shows the bar while it is entered.
    """

    def __init__(self, experiment: "Experiment") -> None:
        self._epochs = experiment.config.epochs
        self._tasks = len(experiment.made.tasks)
        self._accuracy = ""
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
        done = task + (epoch + step / steps) / self._epochs
        where = f"task {task + 1}/{self._tasks}  epoch {epoch + 1}/{self._epochs}"
        self.progress.update(self._bar, completed=done, description=where + self._accuracy)

    @hookimpl
    def bnnlab_metrics_logged(self, metrics: Mapping[str, Any]) -> None:
        """Remember the training accuracy for the bar."""
        if metrics["event"] == "epoch":
            self._accuracy = f"  accuracy {100 * metrics['train_accuracy']:.1f} %"

    @hookimpl
    def bnnlab_task_ended(self, task: int, accuracy: Sequence[float | None]) -> None:
        """Print the accuracy after a task."""
        seen = [a for a in accuracy[: task + 1] if a is not None]
        self.progress.console.print(
            f"task {task + 1}/{self._tasks} learned: accuracy {100 * seen[-1]:.1f} % on it, "
            f"{100 * sum(seen) / len(seen):.1f} % on average over all so far",
            highlight=False,
        )


def print_result(result: Mapping[str, Any], folder: Path | None) -> None:
    """Print what result.json holds to standard output: the accuracy matrix and the measures."""
    for part in result_lines(result):
        print_out(part)
    if folder:
        print_out(f"written to {folder}", soft_wrap=True)


def result_lines(result: Mapping[str, Any]) -> list[Table | Text]:
    """Return the accuracy matrix, and one line per measure.

    Args:
        result: What result.json holds, also that of an earlier version, or a part of it.
    """
    result = {**ABSENT, **result}
    flips = "% of the binary weights that the task changed" if result["flips"] else "not measured"
    head = f"{result.get('evaluate_on', 'test')} accuracy in %; flips: {flips}"
    parts: list[Table | Text] = [Text(head), matrix_table(result)]
    count = len(result["accuracy"])
    if count > (listed := len(_shown(count))):
        parts.append(Text(f"{listed} of {count} tasks are shown; result.json holds all."))
    parts.append(table((), _measures(result, count)))
    if reason := result.get("stop_reason"):
        parts.append(line(f"stopped by probe {reason}"))
    for name, versions in result.get("changed_versions", {}).items():
        parts.append(line(f"parts of this run used {name} {', '.join(versions)}"))
    if "protocol" not in result:
        return parts
    tail = f"protocol {result['protocol']}, seed {result['seed']}, {result['seconds']:.1f} s"
    return [*parts, line(tail)]


def _measures(result: Mapping[str, Any], count: int) -> list[list[Part]]:
    """Return name, value and meaning of each measure that is a number."""
    names = ["average_accuracy", *["recent_accuracy"] * (count > RECENT)]
    if count > 1:
        names += ["learning_accuracy", "forgetting", "backward_transfer", "forward_transfer"]
    if result["fresh_accuracy"]:
        names.append("plasticity")
    rows = []
    for name in names:
        shown = "n/a" if result[name] is None else f"{100 * result[name]:.1f} %"
        rows.append((name.replace("_", " "), shown, MEASURES[name].meaning))
    others = {name: result[name] for name in sorted(result.keys() - MEASURES.keys() - {*ABOUT})}
    rows += [(key, f"{it:.4g}", "") for key, it in others.items() if isinstance(it, int | float)]
    found = result["uncertainty"]
    rows += [
        (name, f"{found[key]:.3f}", meaning)
        for key, (name, meaning) in _UNCERTAINTY.items()
        if key in found
    ]
    return [[name, f"{shown:>7}", (meaning, "dim")] for name, shown, meaning in rows]


_UNCERTAINTY = {
    "nll": ("NLL", "negative log-likelihood, nats"),
    "brier": ("Brier score", "0 is perfect, 2 the worst"),
    "ece": ("ECE", "mean of |accuracy - confidence|"),
    "aleatoric": ("aleatoric", "mean entropy of each draw, bits"),
    "epistemic": ("epistemic", "disagreement of the draws, bits"),
    "ood_auroc": ("OOD AUROC", "out-of-distribution detection; 0.5 is chance"),
}


def _shown(count: int) -> list[int]:
    """Return the tasks to show: all, or as many as the terminal has room for, evenly chosen."""
    room = max(2, min(MOST, (terminal_width() - 10) // 7))
    if count <= room:
        return list(range(count))
    return [round(i * (count - 1) / (room - 1)) for i in range(room)]


def matrix_table(result: Mapping[str, Any]) -> Table:
    """Return the matrix, in per cent: row i after learning task i, column j tested on task j."""
    accuracy, every_flips = result["accuracy"], result["flips"]
    shown = _shown(len(accuracy))
    rows: list[list[Part]] = []
    for i in shown:
        flips = every_flips[i] if every_flips else None
        cells = [_cell(accuracy[i][j], past=j <= i) for j in shown]
        rows.append(
            [f"task {i + 1}", *cells, ("" if flips is None else f"{100 * flips:.1f}", "dim")]
        )
    heads = ["after", *(f"on {j + 1}" for j in shown), "flips"]
    return table(heads, rows, numbers=len(shown) + 1)


def _cell(accuracy: float | None, past: bool) -> tuple[str, str]:
    if accuracy is None:
        return "-", "dim"
    # From red (0) to green (1); what was not learned yet is dim.
    red, green = round(230 * (1 - accuracy**2)) + 20, round(200 * accuracy) + 20
    return f"{100 * accuracy:.1f}", f"rgb({red},{green},60)" if past else "dim"
