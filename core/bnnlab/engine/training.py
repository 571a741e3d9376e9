"""The loop over tasks, epochs and batches."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from bnnlab import seeds
from bnnlab.engine import uncertainty, weights
from bnnlab.engine.diagnosis import Diagnosis, diagnose
from bnnlab.engine.evaluation import Evaluator
from bnnlab.engine.progress import Progress
from bnnlab.errors import RunError
from bnnlab.interfaces.consistency import LOOK_EVERY
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.faults import ADVICE
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.rule import Batch, Closure, LearningRule
from bnnlab.interfaces.stream import Examples, Task

log = logging.getLogger(__name__)


class Trainer:
    """Trains a model on a stream; tells what happens through two callbacks.

    Args:
        model: On its device.
        rule: Attached to the model.
        optimizer: Made for the model.
        tasks: What is learned, in order.
        task_ids: Whether the model is told which task it is tested on.
        measure_uncertainty: Whether calibration and the like are measured after every task.
        diagnose: Whether the rule's gradient is compared with the exact one after every epoch.
        unknown: Examples of no task, for out-of-distribution detection, or None.
        epochs: Passes over each task's training data.
        batch_size: Examples per step.
        seed: Root of the order of examples.
        progress: Where to begin; fresh, or from a checkpoint.
        logged: Called with a line of metrics after every epoch and evaluation.
        due: Asked after every step and every scored task whether to take a checkpoint there.
        saved: Called when a checkpoint may be taken.
        stepped: Called after every step with (task, epoch, step, steps in the epoch).
    """

    def __init__(
        self,
        model: Model,
        rule: LearningRule,
        optimizer: Optimizer,
        tasks: Sequence[Task],
        *,
        task_ids: bool,
        measure_uncertainty: bool,
        diagnose: bool,
        unknown: Examples | None,
        epochs: int,
        batch_size: int,
        seed: int,
        progress: Progress,
        logged: Callable[[dict[str, Any]], None],
        due: Callable[[], bool],
        saved: Callable[[], None],
        stepped: Callable[[int, int, int, int], None],
    ) -> None:
        self.model, self.rule, self.optimizer = model, rule, optimizer
        self.tasks, self.task_ids = list(tasks), task_ids
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self.measure_uncertainty, self.unknown = measure_uncertainty, unknown
        self.diagnose = diagnose
        self.progress = progress
        self._logged, self._stepped = logged, stepped
        self._due, self._saved = due, saved
        self.evaluator = Evaluator(model, optimizer, task_ids)

    def run(self) -> None:
        """Train on every task that is left, from where the progress says.

        Raises:
            RunError: If a look finds something wrong, or the optimizer describes its weights
                wrongly.
        """
        weights.describe(self.model, self.optimizer, weights.signs(self.model))  # before any work
        self._ticked = time.perf_counter()
        if not self.progress.untrained:
            self._measure_untrained()
        for task in self.tasks[self.progress.task :]:
            self._learn(task)

    def _measure_untrained(self) -> None:
        progress = self.progress
        if not self.task_ids:  # else an unseen task has no statistics of its own yet
            self._score([], self.tasks, self.tasks[:1])
        progress.untrained = progress.end_evaluation() or [None] * len(self.tasks)
        self._log({"event": "untrained", "accuracy": progress.untrained})

    def _learn(self, task: Task) -> None:
        """Do what is left of a task: hear of its start, learn, hear of its end, be evaluated."""
        progress = self.progress
        if self.task_ids:
            self.model.select_task(task.index)
        steps = self.epochs * task.train.count_batches(self.batch_size)
        context = TaskContext(task, self.model, self.rule, self.batch_size, steps)
        if progress.phase == "start":
            progress.start_signs = weights.signs(self.model)
            self.optimizer.task_started(context)
            progress.phase = "epochs"
        while progress.epoch < self.epochs:
            self._epoch(task)
            self._save()
        if progress.phase == "epochs":
            self.optimizer.task_ended(context)
            progress.phase = "evaluation"
        self._evaluate(task)
        progress.task, progress.phase, progress.epoch = task.index + 1, "start", 0
        self._save()

    def _epoch(self, task: Task) -> None:
        """Make the steps that are left of an epoch, and say what came of it."""
        self._make_steps(task)
        progress = self.progress
        diagnostics = {**_numbers(self.rule), **_numbers(self.optimizer)}
        metrics = {
            **diagnostics,
            "event": "epoch",
            "task": task.index,
            "epoch": progress.epoch,
            "step": progress.steps,
            "loss": float(progress.losses.mean()),
            "train_accuracy": int(progress.correct) / len(task.train),
        }
        held = task.validation
        if held is not None and len(held):
            seen = self.tasks[: task.index + 1]
            (accuracy,) = self.evaluator.accuracies([task], seen, lambda _: held)
            metrics["validation_accuracy"] = accuracy
        self._log(metrics)
        diagnosis = self._diagnose(task)
        progress.epoch, progress.step = progress.epoch + 1, 0
        if progress.epoch == self.epochs:
            progress.diagnostics.append(diagnostics)
            if diagnosis:
                progress.diagnosis.append(diagnosis)

    def _make_steps(self, task: Task) -> None:
        progress, device = self.progress, task.train.rows.device
        where, count = (task.index, progress.epoch), task.train.count_batches(self.batch_size)
        if progress.step == 0:
            progress.begin_epoch(count, device)
        losses = progress.losses = progress.losses.to(device)
        correct = progress.correct = progress.correct.to(device)
        order = seeds.permutation(len(task.train), self.seed, "order", *where)
        draws = seeds.generator(self.seed, "augmentation", *where)
        if progress.draws is not None:
            draws.set_state(progress.draws)
        self.model.train()
        examples = progress.remembering(task.train)
        for inputs, targets in examples.batches(self.batch_size, order, draws, progress.step):
            closure = self.rule.closure(self.model, Batch(inputs, targets, task.loss))
            losses[progress.step], logits = self._step(closure)
            correct += (task.mask(logits).argmax(-1) == targets).sum()
            progress.step += 1
            progress.steps += 1
            due = self._due()
            if due or progress.step % LOOK_EVERY == 0 or progress.step == count:
                self._look(task)
            self._stepped(*where, progress.step, count)
            if due:
                self._save()

    def _step(self, closure: Closure) -> tuple[Tensor, Tensor]:
        """Return a step's loss and the logits it was made at."""
        loss, name = self.optimizer.step(closure), type(self.optimizer).__name__
        if closure.logits is None:
            raise RunError(f"{name}.step() did not call the closure that it was given")
        if not isinstance(loss, Tensor):
            raise RunError(f"{name}.step() returned {type(loss).__name__}, not the closure's loss")
        return loss, closure.logits

    def _look(self, task: Task) -> None:
        """Let the optimizer look, and add to what it finds where in the run that was."""
        progress, rows = self.progress, self.progress.accuracy
        try:
            self.optimizer.look()
        except RunError as error:
            bad = (~progress.losses[: progress.step].isfinite()).nonzero()
            step = int(bad[0]) + 1 if len(bad) else progress.step
            last = (
                f"The last good evaluation is the one after task {len(rows)}, with "
                f"{100 * (rows[-1][len(rows) - 1] or 0):.1f} % on it."
                if rows
                else "No task was evaluated before."
            )
            raise RunError(
                f"task {task.index + 1} ({task.name}), epoch {progress.epoch + 1}, step {step}: "
                f"{error} {last}"
            ) from error

    def _evaluate(self, task: Task) -> None:
        """Score the tasks seen and, for forward transfer, the next one."""
        self.optimizer.look()  # at what task_ended() left
        progress = self.progress
        seen = self.tasks[: task.index + 1]
        shown = seen if self.task_ids else self.tasks[: task.index + 2]
        summarised = len(seen) if self.measure_uncertainty else 0
        self._score(self._of_no_task(task), shown, seen, summarised)
        summaries = progress.summaries
        measured: dict[str, Any] = uncertainty.uncertainty(summaries) if summaries else {}
        row = progress.end_evaluation()
        progress.accuracy.append(row + [None] * (len(self.tasks) - len(row)))
        progress.flips.append(weights.flipped(self.model, progress.start_signs))
        progress.uncertainty.append(measured)
        layers = weights.describe(self.model, self.optimizer, progress.start_signs)
        where = {"task": task.index, "step": progress.steps}
        self._log({"event": "weights", **where, "layers": layers})
        self._log(
            {
                "event": "evaluation",
                **where,
                "accuracy": progress.accuracy[-1],
                "flips": progress.flips[-1],
                **({"uncertainty": measured} if measured else {}),
            }
        )

    def _score(
        self, none: list[Task], tasks: list[Task], seen: list[Task], summarised: int = 0
    ) -> None:
        """Score test parts into the progress, from where it is.

        Args:
            none: A task with inputs of no task for its test part, if those are to be detected.
            tasks: Whose test parts are scored.
            seen: The tasks learned so far.
            summarised: Of how many tasks the predictions are summarised, too.
        """
        progress, before = self.progress, None
        done = len(progress.row) + (progress.unknown is not None)
        when = f"after task {seen[-1].index + 1} ({seen[-1].name})"
        when = when if progress.phase == "evaluation" else "before training"
        for each in self.evaluator.predict([*none, *tasks], seen, lambda task: task.test, done):
            if none and progress.unknown is None:
                progress.unknown = each
                continue
            if not bool(each.probabilities.isfinite().all()):
                raise RunError(f"{when} the model predicts numbers that are not finite. {ADVICE}")
            progress.row.append(each.accuracy())
            if len(progress.row) <= summarised:
                known, shared = progress.summaries, each is before  # tasks may share a test part
                known.append(known[-1] if shared else uncertainty.summarise(each, progress.unknown))
            before = each
            if self._due():
                self._save()

    def _of_no_task(self, task: Task) -> list[Task]:
        """Return the task with test inputs that belong to none, if those are to be detected."""
        if not self.measure_uncertainty or self.unknown is None:
            return []
        return [replace(task, name="out_of_distribution()", test=self.unknown)]

    def _diagnose(self, task: Task) -> list[Diagnosis]:
        """Compare the rule's gradient with the exact one on a batch that the seed chooses."""
        if not self.diagnose:
            return []
        progress = self.progress
        order = seeds.permutation(len(task.train), self.seed, "diagnosis", task.index)
        batch = Batch(*task.train.batch(order[: self.batch_size]), task.loss)
        found = diagnose(self.rule, self.model, batch)
        where = {"task": task.index, "epoch": progress.epoch, "step": progress.steps}
        self._log({"event": "diagnosis", **where, "segments": found})
        return found

    def _log(self, metrics: dict[str, Any]) -> None:
        self._tick()
        self._logged({**metrics, "seconds": round(self.progress.seconds, 3)})

    def _save(self) -> None:
        self._tick()
        self._saved()
        self._ticked = time.perf_counter()

    def _tick(self) -> None:
        """Count the time since the last tick; a clock that was set back counts nothing."""
        now = time.perf_counter()
        self.progress.seconds += max(0.0, now - self._ticked)
        self._ticked = now


def _numbers(source: LearningRule | Optimizer) -> dict[str, float | None]:
    """Return what JSON can say of its diagnostics: floats, and None for what is not finite."""
    try:
        numbers = {name: float(value) for name, value in source.diagnostics().items()}
    except (AttributeError, ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        name = type(source).__name__
        raise RunError(f"{name}.diagnostics() must return numbers by name: {error}") from error
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
