"""What a run would take, from a short piece of it. Nothing is written."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

from bnnlab.engine.evaluation import Evaluator
from bnnlab.engine.preparing import prepare
from bnnlab.engine.probes import Probes
from bnnlab.engine.progress import Progress
from bnnlab.engine.rates import Rates
from bnnlab.engine.training import Trainer
from bnnlab.guards.threads import computing
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.probe import Control, Moment, Probe, Run
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import RunConfig

SECONDS = 20.0
"""How long the piece is trained."""


@dataclass(frozen=True)
class Work:
    """What a run computes.

    Attributes:
        steps: Optimizer steps; at most, where a task may end early.
        epochs: The same of epochs. A checkpoint is saved after each.
        test_sets: Parts of tasks that are predicted, each time they are.
        examples: In all these.
    """

    steps: int
    epochs: int
    test_sets: int
    examples: int


@dataclass(frozen=True)
class Piece:
    """What a part of a run took, in seconds.

    Attributes:
        steps: How many were timed.
        per_step: Of each.
        examples: How many were predicted.
        per_example: Of each.
    """

    steps: int
    per_step: float
    examples: int
    per_example: float


@dataclass(frozen=True)
class Cost:
    """What a run would take: all steps and all predictions, as long as those of the piece."""

    work: Work
    piece: Piece

    @property
    def training(self) -> float:
        """Hours of the steps."""
        return self.work.steps * self.piece.per_step / 3600

    @property
    def evaluation(self) -> float:
        """Hours of the predictions."""
        return self.work.examples * self.piece.per_example / 3600

    @property
    def hours(self) -> float:
        """Hours in all."""
        return self.training + self.evaluation


def cost_of(host: PluginHost, config: RunConfig, seconds: float = SECONDS) -> Cost:
    """Train a piece of a run on one thread, evaluate it once, and return what all would take.

    What rule, optimizer and probes do between tasks is not a part of it, nor are checkpoints. On
    the CPU, processor time is counted: other work on the machine has no part in it.

    Args:
        host: The plugins.
        config: Of the run.
        seconds: How long the piece is trained, if its first task is not over before.

    Raises:
        UsageError: If the run cannot begin.
        RunError: If it fails.
    """
    experiment = prepare(host, replace(config, out=None, threads=1, trackers={}))
    run, probes = experiment.made, experiment.probes
    is_cpu = next(run.model.parameters()).device.type == "cpu"
    clock = time.process_time if is_cpu else time.perf_counter  # others may take the core meanwhile
    with computing(1):
        steps, per_step = _train(run, probes, seconds, clock)
        began = clock()
        evaluator, first = Evaluator(run.model, run.optimizer, run.task_ids), run.tasks[:1]
        groups = [*evaluator.predict(first, first)]
        taken = clock() - began
    examples = sum(len(task.test) for group in groups for task, _ in group)
    piece = Piece(steps, per_step, examples, taken / examples)
    return Cost(work_of(run, further_inputs(run, probes)), piece)


class _Enough(Exception):  # noqa: N818 - no error
    """The piece is long enough."""


def _train(
    run: Run, probes: Probes, seconds: float, clock: Callable[[], float]
) -> tuple[int, float]:
    """Train the first task for some seconds; return how many steps were timed, and each's seconds.

    What happens between epochs is left out, and so is the first call, in which memory is taken and
    loops are compiled; but where nothing else is there, as with one step per epoch.
    """
    progress = Progress(untrained=[None])  # which is not scored
    marks, ends = [(clock(), 0, -1)], list[float]()

    def stepped(_task: int, epoch: int, _step: int, _steps: int) -> None:
        marks.append((clock(), progress.steps, epoch))
        ends.append(time.perf_counter())
        if len(ends) > 1 and ends[-1] - ends[0] > seconds:
            raise _Enough

    first = replace(run, tasks=run.tasks[:1], policy=run.policy.alone(0))
    with suppress(_Enough):
        Trainer(first, progress, Control(stepped=stepped), probes, Rates(run)).run()
    within = [(one, other) for one, other in pairwise(marks) if one[2] == other[2]]
    timed = within or [*pairwise(marks[1:])] or [*pairwise(marks)]
    steps = sum(other[1] - one[1] for one, other in timed)
    return steps, sum(other[0] - one[0] for one, other in timed) / steps


def further_inputs(run: Run, probes: Probes) -> list[Examples]:
    """Return what the probes of a run let each evaluation predict beside the test parts."""
    asked = probes.ask(Probe.further_inputs, Moment(run.tasks[0], 0, 0))
    return [inputs for its in asked.values() for inputs in its]


def work_of(run: Run, further: Sequence[Examples] = ()) -> Work:
    """Return what a run computes, with the `further` inputs that each evaluation predicts."""
    steps, epochs = (sum(map(of, run.tasks)) for of in (run.steps_of, run.epochs_of))
    sizes = [len(part) for part in _predicted(run, further)]
    return Work(steps, epochs, len(sizes), sum(sizes))


def _predicted(run: Run, further: Sequence[Examples]) -> Iterator[Examples]:
    """Yield what a run predicts, each time it does."""
    count, evaluations = len(run.tasks), run.policy.evaluations
    goes_ahead = evaluations.forward and not run.task_ids
    if goes_ahead:
        yield from _distinct(run, range(count))
    for task in run.tasks:
        if task.validation is not None and len(task.validation):
            yield from [task.validation] * run.epochs_of(task)
        asked = evaluations.after(task.index, count)
        ahead = goes_ahead and bool(asked) and asked.stop < count
        yield from further if asked else ()
        yield from _distinct(run, range(asked.start, asked.stop + ahead))


def _distinct(run: Run, asked: range) -> list[Examples]:
    """Return the test parts of tasks; one that they share is predicted once, unless told apart."""
    parts = [run.tasks[number].test for number in asked]
    return parts if run.task_ids else [*{id(part): part for part in parts}.values()]
