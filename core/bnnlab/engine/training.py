"""The loop over tasks, epochs and batches."""

import math
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from torch import Tensor

from bnnlab import seeds
from bnnlab.engine.figures import score_of
from bnnlab.engine.probes import Probes, ProbeStop
from bnnlab.engine.progress import Progress
from bnnlab.engine.rates import Rates
from bnnlab.engine.scoring import Scorer
from bnnlab.engine.selection import Selection
from bnnlab.engine.whole_steps import blocks, find_whole_steps
from bnnlab.errors import RunError
from bnnlab.interfaces.consistency import LOOK_EVERY
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Control, Probe, Run
from bnnlab.interfaces.rule import Batch, Closure, LearningRule
from bnnlab.interfaces.stream import Task

Steps = Generator[Closure | None, Any, None]
"""A run. Before others see what it holds, as an evaluation or a checkpoint does, it yields None. If
others make its steps, it yields the closure of each, and is sent its loss and logits."""

_OUTSIDE = (
    " It is infinite: unless it grew so, the rule learned a target that is none of the task's "
    "classes, to which its mask gives no probability."
)


class Trainer:
    """Trains a model on the tasks of a run, and evaluates it after each.

    Args:
        run: What learns, and what is learned.
        progress: Where to begin: a new one, or from a checkpoint.
        control: Is told of lines of metrics, steps and checkpoints.
        probes: What measures the run; none by default.
        rates: The learning rates of its steps; by default those of the run's own schedule.
    """

    def __init__(
        self,
        run: Run,
        progress: Progress,
        control: Control,
        probes: Probes | None = None,
        rates: Rates | None = None,
    ) -> None:
        self._probes = probes = Probes({}, run) if probes is None else probes
        probes.log = control.log
        self.made, self.progress, self._given = run, progress, control
        self._control = replace(control, is_due=self._is_due, save=self._save)
        self._scorer = Scorer(run, progress, self._control, probes)
        self._rates, self._selection = rates or Rates(run), Selection(run, progress)
        run.rule.clip_value, self._together = run.policy.clip_value, False
        self._each_step, self._last = map(probes.hear, (Probe.stepped, Probe.run_ended))
        self._whole_steps = find_whole_steps(run, bool(self._each_step))

    def run(self) -> None:
        """Train on every task that is left, from where the progress says.

        Raises:
            RunError: If a look finds something wrong, or a probe fails.
            ProbeStop: If a probe asks for it.
        """
        for _ in self.steps():
            pass

    def steps(self, together: bool = False) -> Steps:
        """Do what `run` does; if `together`, others make the steps."""
        progress, self._together = self.progress, together
        if not progress.untrained:
            self._scorer.score_untrained()
        for task in self.made.tasks[progress.task :]:
            yield from self._learn(task)
        if self._last and not progress.ended:
            self._probes.ask(Probe.run_ended, progress.accuracy, self._control)
            progress.ended = True
            self._save()

    def _is_stopped(self) -> bool:
        """Return whether a probe asks the run to stop while something is left to learn."""
        return self._probes.stop_reason is not None and self.progress.task < len(self.made.tasks)

    def _is_due(self) -> bool:
        return self._is_stopped() or self._given.is_due()

    def _save(self) -> None:
        self._probes.listen()  # of one that saves while it works
        self._given.save()
        if self._is_stopped():
            raise ProbeStop(self._probes.stop_reason)

    def _learn(self, task: Task) -> Steps:
        """Do what is left of a task: hear of its start, learn, hear of its end, be evaluated."""
        progress, run = self.progress, self.made
        if run.task_ids:
            run.model.select_task(task.index)
        context = TaskContext(
            task,
            run.model,
            run.rule,
            run.batch_size,
            run.steps_of(task),
            self._rates.mean(task.index),
        )
        if progress.phase == "start":
            self._probes.ask(Probe.task_started, progress.at(task))
            run.rule.task_started(context)
            run.optimizer.task_started(context)
            progress.phase = "epochs"
        while progress.epoch < run.epochs_of(task):
            yield from self._epoch(task)
            self._save()
        if progress.phase == "epochs":
            if chosen := self._selection.end():
                where = {"task": task.index, "step": progress.steps}
                self._control.log({"event": "selection", **where, **chosen})
            run.optimizer.task_ended(context)
            run.rule.task_ended(context)
            progress.phase = "evaluation"
        self._scorer.score_after(task)
        progress.task, progress.phase, progress.epoch = task.index + 1, "start", 0
        self._save()

    def _epoch(self, task: Task) -> Steps:
        """Make the steps that are left of an epoch, and log what they were like."""
        yield from self._make_steps(task)
        progress, run = self.progress, self.made
        diagnostics = {**_numbers(run.rule), **_numbers(run.optimizer)}
        right, seen = progress.correct, task.train.count_examples(run.batch_size, progress.step)
        metrics = {
            **diagnostics,
            "event": "epoch",
            "task": task.index,
            "epoch": progress.epoch,
            "step": progress.steps,
            "loss": float(progress.losses.mean()),
            **({} if right is None else {"train_accuracy": float(right) / seen}),
            **self._scorer.score_held(task),
            **self._rates.told(task.index, progress.epoch, progress.step - 1),
        }
        self._control.log(metrics)
        self._probes.ask(Probe.epoch_ended, progress.at(task), metrics)
        progress.epoch, progress.step = progress.epoch + 1, 0
        if self._selection.is_over(metrics, diagnostics):
            progress.epoch = run.epochs_of(task)
        if progress.epoch == run.epochs_of(task):
            progress.diagnostics.append(diagnostics)

    def _make_steps(self, task: Task) -> Steps:
        progress, run = self.progress, self.made
        where, count = (task.index, progress.epoch), run.steps_in(task, progress.epoch)
        progress.begin(count, task.train.rows.device)
        run.model.train()
        whole, most = self._whole_steps, 1 if self._rates.change_by_step else LOOK_EVERY
        for inputs, targets in _batches(run, progress, task, most if whole else None):
            batch = Batch(inputs, targets, task.loss)
            with self._rates.applied(run.optimizer, run.rule, *where, progress.step):
                if whole:
                    made = whole(inputs, targets, task)
                else:
                    closure = run.rule.closure(run.model, batch)
                    closure.pieces, closure.clip_value = run.policy.pieces, run.policy.clip_value
                    made = (yield closure) if self._together else _step(run.optimizer, closure)
            loss, logits = made
            progress.count(loss, task.objective.correct(task.mask(logits), targets))
            if self._each_step:
                self._probes.ask(Probe.stepped, progress.at(task), batch, loss, logits)
            due = self._is_due()
            if due or progress.step % LOOK_EVERY == 0 or progress.step == count:
                _look(run.optimizer, progress, task)
            self._control.stepped(*where, progress.step, count)
            if due:
                yield None
                self._save()
        yield None


def _batches(
    run: Run, progress: Progress, task: Task, most: int | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return the batches that are left of an epoch, in its order; those of `most` steps at once."""
    where = (task.index, progress.epoch)
    shuffled = seeds.permutation(len(task.train), run.seed, "order", *where)
    order = None if task.train.in_order else shuffled
    count = run.steps_in(task, progress.epoch)
    if most:
        return blocks(task.train, order, progress.step, count, most)
    generator = seeds.generator(run.seed, "augmentation", *where)
    if progress.generator is not None:
        generator.set_state(progress.generator)
    examples = progress.remembering(task.train)
    batches = examples.batches(run.batch_size, order, generator, progress.step)
    return islice(batches, count - progress.step)


def _step(optimizer: Optimizer, closure: Closure) -> tuple[Tensor, Tensor]:
    """Make a step; return its loss, and the logits that the loss came from."""
    loss, name = optimizer.step(closure), type(optimizer).__name__
    if closure.logits is None:
        raise RunError(f"{name}.step() did not call the closure that it was given")
    if not isinstance(loss, Tensor):
        raise RunError(f"{name}.step() returned {type(loss).__name__}, not the closure's loss")
    return loss, closure.logits


def _look(optimizer: Optimizer, progress: Progress, task: Task) -> None:
    """Let the optimizer look, and add to what it finds where in the run that was."""
    good = [(n, row[n]) for n, row in enumerate(progress.accuracy) if row[n] is not None]
    try:
        optimizer.look()
    except RunError as error:
        bad = (~progress.losses[: progress.step].isfinite()).nonzero()
        step = int(bad[0]) + 1 if len(bad) else progress.step
        is_infinite = len(bad) and task.classes is not None and progress.losses[step - 1].isinf()
        cause = _OUTSIDE if is_infinite else ""
        last = "No task was evaluated before."
        for before, found in good[-1:]:
            on_it = score_of({"score": task.objective.score}).text(found)
            last = f"The last good evaluation is the one after task {before + 1}, "
            last += f"with {on_it} on it."
        raise RunError(
            f"task {task.index + 1} ({task.name}), epoch {progress.epoch + 1}, step {step}: "
            f"{error}{cause} {last}"
        ) from error


def _numbers(source: LearningRule | Optimizer) -> dict[str, float | None]:
    """Return what JSON can say of its diagnostics: floats, and None for what is not finite."""
    try:
        numbers = {name: float(value) for name, value in source.diagnostics().items()}
    except (AttributeError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        name = type(source).__name__
        raise RunError(f"{name}.diagnostics() must return numbers by name: {error}") from error
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
