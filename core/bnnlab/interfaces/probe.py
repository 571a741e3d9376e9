"""The probe interface: what measures a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.policy import USUAL, Policy
from bnnlab.interfaces.prediction import Predicted, Prediction
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab.interfaces.stream import Task

Stepped = Callable[[int, int, int, int], None]
"""Hears of a step: task, epoch, steps made in the epoch, steps in the epoch."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a run is made of.

    Attributes:
        model: On its device.
        rule: Attached to the model.
        optimizer: Made for the model.
        tasks: What is learned, in order.
        task_ids: Whether the model is told which task it is tested on.
        unknown: Inputs of no task; None where the stream has none, the model is told the task, or
            the run is evaluated on validation.
        epochs: Passes over each task's training data; the most, where tasks have other numbers, see
            `epochs_of`.
        batch_size: Examples per step.
        seed: Root of all randomness.
        make_again: Makes model, rule and optimizer anew, as they were before the first step.
        class_names: A name per class, in the order of the labels; empty if they are only numbers.
        policy: How it trains, whatever its components are.
    """

    model: Model
    rule: LearningRule
    optimizer: Optimizer
    tasks: Sequence[Task]
    task_ids: bool
    unknown: Examples | None
    epochs: int
    batch_size: int
    seed: int
    make_again: Callable[[], tuple[Model, LearningRule, Optimizer]]
    class_names: Sequence[str] = ()
    policy: Policy = USUAL

    def epochs_of(self, task: Task) -> int:
        """Return how many epochs a task has, at most; a budget of steps may end within the last."""
        if self.policy.steps:
            return -(-self.policy.steps // task.train.count_batches(self.batch_size))
        return self.policy.epochs[task.index] if self.policy.epochs else self.epochs

    def steps_of(self, task: Task) -> int:
        """Return how many optimizer steps a task has, at most."""
        return self.policy.steps or self.epochs_of(task) * self.steps_in(task, 0)

    def steps_in(self, task: Task, epoch: int) -> int:
        """Return how many steps an epoch of a task has, which is numbered from 0."""
        whole = task.train.count_batches(self.batch_size)
        return min(whole, self.policy.steps - epoch * whole) if self.policy.steps else whole


@dataclass(frozen=True, eq=False)
class Moment:
    """How far a run is.

    Attributes:
        task: The task under way.
        epoch: The epoch under way, from 0; once all are over, their number.
        steps: Optimizer steps made in the run.
    """

    task: Task
    epoch: int
    steps: int


@dataclass(frozen=True)
class Control:
    """How a run is saved and shown.

    Attributes:
        log: Adds a line to metrics.jsonl.
        is_due: Returns whether a checkpoint is due, by the clock or because of a signal.
        save: Takes a checkpoint. A run that a signal stopped ends here, by an exception.
        stepped: Is told of each step.
    """

    log: Callable[[dict[str, Any]], None] = lambda _: None
    is_due: Callable[[], bool] = lambda: False
    save: Callable[[], None] = lambda: None
    stepped: Stepped = lambda *_: None


class Probe:
    """Measures a run and changes nothing in it.

    Override the moments that are needed; each does nothing by default. The run goes on in the same
    way with and without the probe: leave weights, buffers, modes, the rule's and the optimizer's
    state and all generators as they are. Draw from a generator of the probe's own, see
    `bnnlab.seeds`. A probe that raises an error, or writes to a tensor that it is given, fails the
    run; the error has the probe's name.

    Attributes:
        takes: What `predicted` can be told of. A run whose objective predicts something else is
            refused, or is without the probe if nobody asked for it. `Predicted` is anything.
    """

    takes: ClassVar[type[Predicted]] = Prediction

    # What it has said since the run last asked.
    _bnnlab_lines: tuple[dict[str, Any], ...] = ()
    _bnnlab_reason: str | None = None

    # ------------------------------------------------------------------ what a probe says

    def log(self, event: str, **values: Any) -> None:
        """Add a line to metrics.jsonl, in JSON types: `{"event": event, **values}`.

        Not in `attach` and `further_inputs`, which a resumed run calls again.
        """
        if not isinstance(event, str) or not event:
            raise ValueError(f"log(event, ...): the event must be a word, and is {event!r}")
        self._bnnlab_lines = (*self._bnnlab_lines, {"event": event, **values})

    def stop(self, reason: str) -> None:
        """Ask the run to stop as soon as it can be saved: its status is then `stopped`.

        `bnn run --resume` continues it, until a probe asks again. Once the last task is learned,
        the run is complete: then only the log tells of the reason.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"stop(reason): say why in words; it is {reason!r}")
        self._bnnlab_reason = reason

    def measures(self) -> Mapping[str, Any]:
        """Return the results by name, in JSON types; also of a run that ended early."""
        return {}

    # ------------------------------------------------------------------ moments

    def attach(self, run: Run) -> None:
        """Hear what the run is made of, before anything else and in a resumed run, too."""

    def task_started(self, at: Moment) -> None:
        """Hear that a task begins, before the optimizer does."""

    def stepped(self, at: Moment, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        """Hear of an optimizer step. It costs time only where a probe overrides it.

        Do not wait for the device here: no `.item()`, no copy to the CPU.

        Args:
            at: After the step.
            batch: What was learned from.
            loss: The loss before the step, a scalar.
            logits: The logits before the step, `(B, K)`.
        """

    def epoch_ended(self, at: Moment, metrics: Mapping[str, Any]) -> None:
        """Hear that an epoch is over, with its line of metrics.jsonl."""

    def further_inputs(self, at: Moment) -> Sequence[Examples]:  # noqa: ARG002
        """Return further inputs that an evaluation after a task predicts, a list of `Examples`.

        An evaluation that was interrupted asks again, and must be given the same.
        """
        return ()

    def predicted(self, at: Moment, task: Task | None, prediction: Any) -> None:
        """Hear what an evaluation after a task predicts, one after another.

        Those for the further inputs come first, with None in place of the task; then those for the
        test parts of the tasks seen and of the next one, or of those that `run.policy.evaluations`
        names. After the last task, they are all.

        Args:
            at: After the task.
            task: That it is for.
            prediction: One of what the probe `takes`.
        """

    def evaluated(self, at: Moment, accuracy: Sequence[float | None]) -> Mapping[str, Any]:  # noqa: ARG002
        """Hear that a task is learned and evaluated.

        If nothing is evaluated after a task, a probe that overrides `predicted` does not hear of
        it; another one does.

        Args:
            at: After the task.
            accuracy: The task's row of the accuracy matrix, a fraction per task; None where it was
                not measured.

        Returns:
            What is added to the evaluation's line of metrics.jsonl, by names that are new in it.
        """
        return {}

    def run_ended(self, accuracy: Sequence[Sequence[float | None]], control: Control) -> None:
        """Hear that all tasks are learned; what takes long is measured here.

        A run that is stopped meanwhile calls this again when it is resumed.

        Args:
            accuracy: The accuracy matrix.
            control: Call its `save()` where `is_due()`.
        """

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: tensors, numbers and text, in lists and dicts."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; called after `attach`."""
