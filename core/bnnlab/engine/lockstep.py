"""Runs with several seeds, whose steps are made together in one process."""

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from bnnlab.engine.experiment import Experiment
from bnnlab.engine.interruption import Interruption, stop
from bnnlab.engine.result import Result
from bnnlab.errors import StoppedError, UsageError
from bnnlab.families.stack import Stack, obstacle
from bnnlab.guards.threads import computing
from bnnlab.interfaces.probe import Run, Stepped
from bnnlab.interfaces.rule import Closure
from bnnlab.registry.components import Kind
from bnnlab.storage.log import turn

log = logging.getLogger(__name__)


def run_together(
    experiments: Sequence[Experiment], stepped: Stepped = lambda *_: None
) -> list[Result]:
    """Train runs that differ in the seed only, step by step together; return their results.

    Each does what it does alone (folder, checkpoints, evaluations, result), but for rounding. One
    that fails, or that a probe stops, leaves the others, which go on.

    Args:
        experiments: The runs, new or resumed at one place.
        stepped: As in `Experiment.run`, of the first run.

    Raises:
        UsageError: If their steps cannot be made together, before the first step.
        RunError: The first of a run that failed, once the others are over.
        KeyboardInterrupt: If SIGINT stopped them.
        StoppedError: If another signal did.
    """
    try:
        expect_alike(experiments)
    except UsageError:
        for folder in (each.folder for each in experiments if each.folder):
            folder.unlock()
        raise
    has_folder = any(each.folder for each in experiments)
    ears = Interruption(math.inf)
    together = _Together(experiments, stepped)
    with (
        computing(experiments[0].config.threads),
        ears.listening() if has_folder else nullcontext(),
    ):
        try:
            while together.going:
                if ears.asked is not None:  # all stop after one and the same step
                    together.ask_to_stop(ears.asked)
                together.go_on()
        except BaseException as error:
            together.end(error)
    stops = [each for each in together.errors if isinstance(each, KeyboardInterrupt | StoppedError)]
    for first in (*stops, *together.errors):
        raise first
    if ears.asked is not None:  # it came after the last step
        raise stop(ears.asked)
    return [together.results[id(each)] for each in experiments]


def expect_alike(experiments: Sequence[Experiment]) -> None:
    """Check that the steps of runs can be made together.

    Raises:
        UsageError: If they cannot; with what to change.
    """
    config, run = experiments[0].config, experiments[0].made
    why = {
        Kind.RULE: obstacle(run.rule),
        Kind.OPTIMIZER: obstacle(run.optimizer),
        Kind.MODEL: obstacle(run.model),
    }
    found = [f"{config.choices[kind]} {its}" for kind, its in why.items() if its]
    said = {
        "accumulate is set": config.accumulate > 1,
        "compile is set": config.compile,
        "kernels are compiled": config.kernels == "compiled",
        "patience may end a task of one run before that of another": config.patience is not None,
        "trackers follow one run at a time (track)": bool(config.trackers),
    }
    found += [what for what, is_so in said.items() if is_so]
    if len({_length(each.made) for each in experiments}) > 1:
        found.append("the tasks of the stream have other numbers of steps with other seeds")
    if len({_place(each) for each in experiments}) > 1:
        found.append("the runs are not at the same step")
    if found:
        raise UsageError(
            "vectorize makes the steps of all seeds together, and cannot here: "
            f"{'; '.join(found)}. Leave out vectorize, or change that: bnn sweep makes runs in "
            "parallel, too"
        )


def _length(run: Run) -> tuple[tuple[int, int], ...]:
    return tuple((run.epochs_of(task), len(task.train)) for task in run.tasks)


def _place(experiment: Experiment) -> tuple[Any, ...]:
    progress = experiment.learner.progress
    return progress.task, progress.epoch, progress.step


class _Together:
    """The runs that are going, each waiting for a step.

    Attributes:
        going: What each run that has not ended is sent next.
        results: Of those that have, by the identity of the experiment.
        errors: Of those that failed or were stopped, as they came.
    """

    def __init__(self, experiments: Sequence[Experiment], stepped: Stepped) -> None:
        seeds = ", ".join(str(each.config.seed) for each in experiments)
        self._steps = {
            id(each): each.steps(
                stepped if each is experiments[0] else lambda *_: None, together=True
            )
            for each in experiments
        }
        self.going: dict[int, Any] = dict.fromkeys(self._steps)
        self._runs = {id(each): each for each in experiments}
        self.results: dict[int, Result] = {}
        self.errors: list[BaseException] = []
        self._stack: Stack | None = None
        self._said = f"steps are made together with the seeds {seeds}: rounding may differ"

    def go_on(self) -> None:
        """Let each run do what comes before its next step; make that step."""
        asked = {}
        for run, answer in list(self.going.items()):
            closure = self._advance(run, answer)
            while closure is None and run in self.going:
                if self._stack:
                    self._stack.release()
                closure = self._advance(run, None)
            if closure is not None:
                asked[run] = closure
        if not asked:
            return
        if self._stack is None:
            made = [self._runs[run].made for run in asked]
            parts = zip(*((its.model, its.rule, its.optimizer) for its in made), strict=True)
            self._stack = Stack(*parts)
            log.info("%s", self._said)
        self.going = dict(zip(asked, self._stack.step([*asked.values()]), strict=True))

    def ask_to_stop(self, signal: int) -> None:
        """Let all save and stop."""
        for run in self.going:
            self._runs[run]._interruption.asked = signal

    def end(self, error: BaseException) -> None:
        """End all runs by an error of what they do together."""
        for run in list(self.going):
            self._advance(run, error)

    def _advance(self, run: int, answer: Any) -> Closure | None:
        """Let a run go on; return the closure of its next step, None if it has none now."""
        steps = self._steps[run]
        try:
            with turn(run):
                is_error = isinstance(answer, BaseException)
                closure: Closure | None = steps.throw(answer) if is_error else steps.send(answer)
            return closure
        except StopIteration as end:
            self.results[run] = end.value
        except BaseException as error:
            self.errors.append(error)
        del self.going[run]
        if self._stack:
            self._stack.release()
            self._stack = None
        return None
