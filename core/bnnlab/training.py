"""The loop over tasks, epochs and batches."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bnnlab import seeds, uncertainty, weights
from bnnlab.diagnosis import Diagnosis, diagnose
from bnnlab.errors import RunError
from bnnlab.evaluation import Evaluator, Prediction
from bnnlab.model import Model
from bnnlab.optimizer import Optimizer, TaskContext
from bnnlab.progress import Progress
from bnnlab.rule import Batch, Closure, LearningRule
from bnnlab.stream import Examples, Task

log = logging.getLogger(__name__)

CHECK_EVERY = 50
"""Steps between looks at the loss: each look waits for the device."""
ADVICE = (
    "Try a smaller learning rate, or bound the gradients if the optimizer has an option for it."
)


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
        saved: Callable[[], None],
        stepped: Callable[[int, int, int, int], None],
    ) -> None:
        self.model, self.rule, self.optimizer = model, rule, optimizer
        self.tasks, self.task_ids = list(tasks), task_ids
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self.measure_uncertainty, self.unknown = measure_uncertainty, unknown
        self.diagnose = diagnose
        self.progress = progress
        self._logged, self._saved, self._stepped = logged, saved, stepped
        self.evaluator = Evaluator(model, optimizer, task_ids)

    def run(self) -> None:
        """Train on every task that is left.

        Raises:
            RunError: If the loss is not finite, or the optimizer describes its weights wrongly.
        """
        weights.describe(self.model, self.optimizer, weights.signs(self.model))  # before any work
        if not self.progress.untrained:
            # With task ids an unseen task has no statistics of its own yet: not measured.
            self.progress.untrained = (
                [None] * len(self.tasks)
                if self.task_ids
                else [*self._test(self.tasks, self.tasks[:1])]
            )
            self._log({"event": "untrained", "accuracy": self.progress.untrained})
        for task in self.tasks[self.progress.task :]:
            self._learn(task)

    def _learn(self, task: Task) -> None:
        progress = self.progress
        if self.task_ids:
            self.model.select_task(task.index)
        steps = self.epochs * task.train.count_batches(self.batch_size)
        context = TaskContext(task, self.model, self.rule, self.batch_size, steps)
        if progress.epoch == 0:
            progress.start_signs = weights.signs(self.model)
            self.optimizer.task_started(context)
        for epoch in range(progress.epoch, self.epochs):
            started = time.perf_counter()
            metrics = self._epoch(task, epoch)
            diagnostics = {**_numbers(self.rule), **_numbers(self.optimizer)}
            metrics = {**diagnostics, **metrics}
            held = task.validation
            if held is not None and len(held):
                metrics["validation_accuracy"] = self._validate(task, held)
            progress.epoch = epoch + 1
            progress.seconds += time.perf_counter() - started
            self._log(metrics)
            diagnosis = self._diagnose(task)
            if progress.epoch < self.epochs:
                self._saved()
        self.optimizer.task_ended(context)
        progress.diagnostics.append(diagnostics)
        if diagnosis:
            progress.diagnosis.append(diagnosis)
        self._evaluate(task)
        progress.task, progress.epoch = task.index + 1, 0
        self._saved()

    def _epoch(self, task: Task, epoch: int) -> dict[str, Any]:
        self.model.train()
        order = seeds.permutation(len(task.train), self.seed, "order", task.index, epoch)
        count = task.train.count_batches(self.batch_size)
        device = task.train.rows.device
        losses = torch.zeros(count, device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        checked = 0
        draws = seeds.generator(self.seed, "augmentation", task.index, epoch)
        batches = task.train.batches(self.batch_size, order, draws)
        for step, (inputs, targets) in enumerate(batches):
            closure = self.rule.closure(self.model, Batch(inputs, targets, task.loss))
            losses[step], logits = self._step(closure)
            correct += (task.mask(logits).argmax(-1) == targets).sum()
            self.progress.steps += 1
            if (step + 1) % CHECK_EVERY == 0 or step + 1 == count:
                self._check(losses[checked : step + 1], task, epoch, checked)
                self._check_gradients()
                checked = step + 1
            self._stepped(task.index, epoch, step + 1, count)
        return {
            "event": "epoch",
            "task": task.index,
            "epoch": epoch,
            "step": self.progress.steps,
            "loss": float(losses.mean()),
            "train_accuracy": int(correct) / len(task.train),
        }

    def _step(self, closure: Closure) -> tuple[Tensor, Tensor]:
        """Return a step's loss and the logits it was made at."""
        loss, name = self.optimizer.step(closure), type(self.optimizer).__name__
        if closure.logits is None:
            raise RunError(f"{name}.step() did not call the closure that it was given")
        if not isinstance(loss, Tensor):
            raise RunError(f"{name}.step() returned {type(loss).__name__}, not the closure's loss")
        return loss, closure.logits

    def _check(self, losses: Tensor, task: Task, epoch: int, first: int) -> None:
        finite = losses.isfinite()
        if bool(finite.all()):
            return
        step = first + int((~finite).nonzero()[0]) + 1
        rows = self.progress.accuracy
        last = (
            f"the last good evaluation is the one after task {len(rows)}, with "
            f"{_percent(rows[-1][len(rows) - 1])} on it"
            if rows
            else "no task was evaluated before"
        )
        raise RunError(
            f"the loss is {float(losses[~finite][0])} in task {task.index + 1} ({task.name}), "
            f"epoch {epoch + 1}, step {step}; {last}. {ADVICE}"
        )

    def _check_gradients(self) -> None:
        """See that they are finite: signs hide it from the loss where they are not."""
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                rule = type(self.rule).__name__
                raise RunError(f"{rule} left a gradient that is not finite in {name}. {ADVICE}")

    def _evaluate(self, task: Task) -> None:
        """Score the tasks seen and, for forward transfer, the next one."""
        weights.check_signs(self.model, self.optimizer)
        progress, started = self.progress, time.perf_counter()
        seen = self.tasks[: task.index + 1]
        shown = seen if self.task_ids else self.tasks[: task.index + 2]
        none = self._of_no_task(task)
        predictions = self.evaluator.predict([*none, *shown], seen, lambda task: task.test)
        unknown = next(predictions) if none else None
        row: list[float | None] = []
        summaries: list[uncertainty.Summary] = []
        before: Prediction | None = None
        for each in predictions:
            if not bool(each.probabilities.isfinite().all()):
                raise RunError(
                    f"after task {task.index + 1} ({task.name}) the model predicts numbers that "
                    f"are not finite. {ADVICE}"
                )
            row.append(each.accuracy())
            if self.measure_uncertainty and len(row) <= len(seen):
                shared = each is before  # tasks may share a test part
                summaries.append(summaries[-1] if shared else uncertainty.summarise(each, unknown))
            before = each
        progress.accuracy.append(row + [None] * (len(self.tasks) - len(row)))
        progress.flips.append(weights.flipped(self.model, progress.start_signs))
        measured: dict[str, Any] = uncertainty.uncertainty(summaries) if summaries else {}
        progress.uncertainty.append(measured)
        layers = weights.describe(self.model, self.optimizer, progress.start_signs)
        progress.seconds += time.perf_counter() - started
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

    def _of_no_task(self, task: Task) -> list[Task]:
        """Return the task with test inputs that belong to none, if those are to be detected."""
        if not self.measure_uncertainty or self.unknown is None:
            return []
        return [replace(task, test=self.unknown)]

    def _diagnose(self, task: Task) -> list[Diagnosis]:
        """Compare the rule's gradient with the exact one on a batch that the seed chooses."""
        if not self.diagnose:
            return []
        progress, started = self.progress, time.perf_counter()
        order = seeds.permutation(len(task.train), self.seed, "diagnosis", task.index)
        batch = Batch(*task.train.batch(order[: self.batch_size]), task.loss)
        found = diagnose(self.rule, self.model, batch)
        progress.seconds += time.perf_counter() - started
        where = {"task": task.index, "epoch": progress.epoch - 1, "step": progress.steps}
        self._log({"event": "diagnosis", **where, "segments": found})
        return found

    def _validate(self, task: Task, held: Examples) -> float:
        seen = self.tasks[: task.index + 1]
        return self.evaluator.accuracies([task], seen, lambda _: held)[0]

    def _test(self, tasks: list[Task], seen: list[Task]) -> list[float]:
        return self.evaluator.accuracies(tasks, seen, lambda task: task.test)

    def _log(self, metrics: dict[str, Any]) -> None:
        self.progress.lines += 1
        self._logged({**metrics, "seconds": round(self.progress.seconds, 3)})


def _numbers(source: LearningRule | Optimizer) -> dict[str, float | None]:
    """Return what JSON can say of its diagnostics: floats, and None for what is not finite."""
    try:
        numbers = {name: float(value) for name, value in source.diagnostics().items()}
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        name = type(source).__name__
        raise RunError(f"{name}.diagnostics() must return numbers by name: {error}") from error
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _percent(fraction: float | None) -> str:
    return "unknown" if fraction is None else f"{100 * fraction:.1f} %"
