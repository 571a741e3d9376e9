"""What a run is told of its training becomes its policy."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.evaluations import Evaluations
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.objectives import CLASSES, Classes
from bnnlab.interfaces.policy import Policy
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.schedule import Schedule
from bnnlab.interfaces.stream import Task
from bnnlab.nn.normalization import BatchNorm
from bnnlab.settings.run import RunConfig
from bnnlab.settings.terms import evaluated


def of(config: RunConfig, tasks: Sequence[Task]) -> Policy:
    """Return how a run on these tasks trains.

    Raises:
        UsageError: If there are more or fewer numbers of epochs than tasks.
    """
    epochs = config.epochs if isinstance(config.epochs, Sequence) else ()
    if epochs is config.epochs and len(epochs) != len(tasks):
        raise UsageError(f"epochs: {len(epochs)} numbers for the {len(tasks)} tasks of the stream.")
    return Policy(
        epochs=tuple(epochs),
        steps=config.steps,
        schedule=Schedule(
            shape=config.schedule,
            by=config.schedule_by,
            over=config.schedule_over,
            gamma=config.schedule_gamma,
            every=config.schedule_every,
            at=tuple(config.schedule_at),
            warmup=config.warmup,
            task_decay=config.task_decay,
        ),
        pieces=config.accumulate,
        clip_value=config.clip_value,
        patience=config.patience,
        keep=config.keep,
        evaluations=Evaluations.of(*evaluated(config.evaluate), config.forward),
    )


def learning(config: RunConfig, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks with the loss that a run is told to learn.

    Raises:
        UsageError: If their targets are no classes.
    """
    loss, smoothing = config.loss, config.label_smoothing
    if (loss, smoothing) == (CLASSES.loss_name, CLASSES.smoothing):
        return [*tasks]
    which = "label_smoothing" if smoothing else f"loss = {loss}"
    if tasks[0].objective != CLASSES:
        raise UsageError(
            f"{which} is for streams with a class per input, and here targets are "
            f"{tasks[0].objective.name}."
        )
    return [replace(task, objective=Classes(loss, smoothing)) for task in tasks]


def expect_loss_alone(config: RunConfig, rule: LearningRule) -> None:
    """Check that a rule learns the loss that the run is told to learn.

    Raises:
        UsageError: If it goes by the classes themselves.
    """
    told = (config.loss, config.label_smoothing) != ("cross-entropy", 0)
    if told and not (rule.any_loss or rule.class_losses):
        raise UsageError(
            f"{'label_smoothing' if config.label_smoothing else 'loss'}: {type(rule).__name__} "
            "learns from more than the loss of a batch: take a rule that provides 'any-loss' or "
            "'class-losses', such as bp."
        )


def expect_separate_rows(rule: LearningRule, model: Model) -> None:
    """Check that the pieces of a batch have the batch's gradient: no row depends on another.

    Raises:
        UsageError: If the rule or a batch normalisation looks at the batch as a whole.
    """
    if rule.whole_batch:
        raise UsageError(
            f"accumulate: {type(rule).__name__} looks at a batch as a whole, so pieces of it have "
            "another gradient. Take a smaller batch."
        )
    kinds = BatchNorm, nn.modules.batchnorm._BatchNorm
    norms = [name for name, part in model.named_modules() if isinstance(part, kinds)]
    if norms:
        raise UsageError(
            f"accumulate: the batch normalisation {norms[0]} would normalise each piece by itself, "
            "and the gradient would be another. Take a model without batch normalisation, or a "
            "smaller batch."
        )
