"""The progress of a run in a notebook."""

import sys
import time
from collections.abc import Callable, Iterable
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnlab.engine.experiment import Experiment
    from bnnlab.engine.result import Result
    from bnnlab.interfaces.probe import Stepped

REFRESH = 0.2
"""Seconds between updates."""


class Progress:
    """The progress of a run, which a notebook shows and updates in its place."""

    def __init__(self, experiment: "Experiment", display: Any) -> None:
        made = experiment.made
        self._epochs, self._tasks = [*map(made.epochs_of, made.tasks)], len(made.tasks)
        self._began = self._drawn = time.perf_counter()
        self._first: float | None = None
        self._done, self._text = 0.0, "starting"
        self._handle = display(self, display_id=True)

    def stepped(self, task: int, epoch: int, step: int, steps: int) -> None:
        """Show how far the run is, a few times per second."""
        now = time.perf_counter()
        if now - self._drawn < REFRESH:
            return
        self._drawn = now
        self._done = (task + (epoch + step / steps) / self._epochs[task]) / self._tasks
        if self._first is None:  # a resumed run does not begin at 0
            self._began, self._first = now, self._done
        where = f"task {task + 1}/{self._tasks}, epoch {epoch + 1}/{self._epochs[task]}"
        made = self._done - self._first
        left = (now - self._began) / made * (1 - self._done) if made > 0 else None
        self._show(where if left is None else f"{where}, {left:.0f} s left")

    def ended(self, result: "Result") -> None:
        """Say how long it took."""
        self._done = 1.0
        self._show(f"{result.status} after {result.seconds:.1f} s")

    def broke(self, again: str) -> None:
        """Say that the run has ended before its end, and what goes on with it, if anything does."""
        self._show(f"not complete{again and f'; to continue: {again}'}")

    def _show(self, text: str) -> None:
        self._text = text
        self._handle.update(self)

    def __repr__(self) -> str:
        return f"{100 * self._done:.0f} %  {self._text}"

    def _repr_html_(self) -> str:
        value = f'<progress max="1" value="{self._done:.4f}"></progress>'
        return f"<div>{value} {escape(self._text)}</div>"


def train(experiment: "Experiment") -> "Result":
    """Carry out a run; in a notebook, with its progress shown."""
    return _shown(experiment, experiment.run)


def train_together(experiments: "Iterable[Experiment]") -> "list[Result]":
    """Carry out runs, whose steps are made together, as `train` does one."""
    from bnnlab.engine.lockstep import run_together

    every = [*experiments]
    results = list["Result"]()

    def run(stepped: "Stepped" = lambda *_: None) -> "Result":
        results.extend(run_together(every, stepped))
        return results[0]

    _shown(every[0], run)
    return results


def _shown(experiment: "Experiment", run: "Callable[..., Result]") -> "Result":
    ipython = sys.modules.get("IPython")
    if not hasattr(ipython and ipython.get_ipython(), "kernel"):  # a terminal of IPython has none
        return run()
    progress = Progress(experiment, import_module("IPython.display").display)
    try:
        result = run(progress.stepped)
    except BaseException:
        progress.broke(experiment.again)
        raise
    progress.ended(result)
    return result
