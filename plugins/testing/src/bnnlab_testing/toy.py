"""What the contracts train on: nothing here needs a plugin to be installed."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.engine.learner import Learner
from bnnlab.families.latent import LatentOptimizer
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.elementwise import subtract
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.objectives import Classes, RealNumbers
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab.interfaces.stream import Task
from bnnlab_testing.toy_models import CLASSES as CLASSES
from bnnlab_testing.toy_models import INPUT_SHAPE as INPUT_SHAPE
from bnnlab_testing.toy_models import (
    LENGTH,
    NUMBERS,
    OUTPUTS,
    TOKENS,
    make_mlp,
    make_regression_model,
    make_tokens_model,
)
from bnnlab_testing.toy_models import make_linear_model as make_linear_model
from bnnlab_testing.toy_models import make_model as make_model
from bnnlab_testing.toy_models import make_normalised_model as make_normalised_model
from bnnlab_testing.toy_models import make_positions_model as make_positions_model
from bnnlab_testing.toy_models import make_real_model as make_real_model
from bnnlab_testing.toy_models import make_smooth_model as make_smooth_model
from bnnlab_testing.toy_models import make_twins_model as make_twins_model

BATCH_SIZE = 20
GOES_ON = 50
"""Steps that a task has at least, as it is announced, where it does not end with those made."""


def make_task(index: int = 0) -> Task:
    """Return 60 images, each a noisy copy of one of three: separable. 20 of them are for test."""
    generator = seeds.generator(index, "toy data")
    templates = torch.randint(0, 256, (CLASSES, *INPUT_SHAPE), generator=generator)
    labels = torch.arange(60) % CLASSES
    noise = torch.randint(-40, 41, (60, *INPUT_SHAPE), generator=generator)
    pixels = (templates[labels] + noise).clamp(0, 255).to(torch.uint8)
    return task_of(pixels, labels, index, learned=40, mean=127.5, std=74.0)


def make_tokens_task(index: int = 0) -> Task:
    """Return 60 rows of token ids, each one of three with one id replaced. 20 are for test."""
    generator = seeds.generator(index, "toy tokens")
    templates = torch.randint(0, TOKENS, (CLASSES, LENGTH), generator=generator)
    labels = torch.arange(60) % CLASSES
    places = torch.randint(0, LENGTH, (60, 1), generator=generator)
    others = torch.randint(0, TOKENS, (60, 1), generator=generator)
    ids = templates[labels].scatter(1, places, others)
    return task_of(ids, labels, index, learned=40, mean=None, std=None)


def make_regression_task(index: int = 0) -> Task:
    """Return 60 rows of numbers; to predict are the sines of two sums. 20 are for test."""
    generator = seeds.generator(index, "toy numbers")
    x = torch.randn(60, NUMBERS, generator=generator)
    targets = (x @ torch.randn(NUMBERS, OUTPUTS, generator=generator)).sin()
    return replace(task_of(x, targets, index, learned=40), objective=RealNumbers())


class Toy(NamedTuple):
    """A network, and tasks for it.

    Attributes:
        make_model: Makes the network, always with the same weights.
        make_task: Makes a task of 60 examples, by its index; without one, the first.
    """

    make_model: Callable[[], Model]
    make_task: Callable[..., Task]


conv = Toy(make_model, make_task)
"""Three classes of images, for a convolution and two linear layers."""
mlp = Toy(make_mlp, make_task)
"""The same images, for linear layers alone."""
real = Toy(make_real_model, make_task)
"""The same images, for real weights."""
tokens = Toy(make_tokens_model, make_tokens_task)
"""Three classes of rows of token ids."""
regression = Toy(make_regression_model, make_regression_task)
"""Two real numbers for each row of numbers."""


def task_of(
    inputs: Tensor,
    labels: Tensor,
    index: int = 0,
    *,
    learned: int | None = None,
    mean: float | None = 0.0,
    std: float | None = 1.0,
) -> Task:
    """Return a task that learns from the first inputs (by default half), and tests the rest."""
    rows, cut = torch.arange(len(inputs)), len(inputs) // 2 if learned is None else learned
    # one number each, for inputs of any number of dimensions
    m, sd = (None if each is None else torch.tensor(each) for each in (mean, std))
    train, test = (Examples(inputs, labels, part, m, sd) for part in (rows[:cut], rows[cut:]))
    return Task(index, "toy", train, test)


def to(task: Task, device: torch.device) -> Task:
    """Return a task whose data are on a device."""
    train, test = (_to(part, device) for part in (task.train, task.test))
    moved: Task = replace(_to(task, device), train=train, test=test)
    return moved


def _to(data: Any, device: torch.device) -> Any:
    values = {each.name: getattr(data, each.name) for each in fields(data)}
    tensors = {name: each.to(device) for name, each in values.items() if isinstance(each, Tensor)}
    return replace(data, **tensors)


class Unread:
    """Stands for a test part: who reads it is told so."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copies and pickles ask for these
            raise AttributeError(name)
        raise AssertionError(f"task.test.{name} is read: nothing is learned from test data")

    def __len__(self) -> int:
        raise AssertionError("len(task.test) is read: nothing is learned from test data")


def context(task: Task, model: Model, rule: LearningRule, steps: int) -> TaskContext:
    """Return what is told of a task; the test part raises where it is read."""
    unread: Any = Unread()
    learned: Task = replace(task, test=unread)
    return TaskContext(learned, model, rule, BATCH_SIZE, steps)


class ToyRule(LearningRule):
    """Autograd over the whole network."""

    any_loss = stackable = capturable = True

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run forward and backward once."""
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        torch.autograd.backward(loss)
        return loss, logits


class ToyOptimizer(LatentOptimizer):
    """Gradient descent on latent weights."""

    stackable = capturable = True

    def update(
        self, group: Group, _parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        """Subtract the gradient, times the learning rate."""
        for value, grad in zip(values, grads, strict=True):
            subtract(value, grad, self.lr_now(group))


def make_optimizer(model: Model) -> ToyOptimizer:
    """Return a plain optimizer for a model."""
    generator = seeds.generator(0, "toy optimizer")
    return ToyOptimizer(model, generator=generator, lr=0.05, latent_clip=1.0)


def train(
    model: Model,
    rule: LearningRule,
    optimizer: Optimizer,
    task: Task,
    *,
    steps: int,
    done: int = 0,
    end: bool = False,
) -> list[float]:
    """Train for some steps and return the losses.

    The task's start is announced unless steps were `done` before; its end is if asked for. If it
    is not, the task goes on: more steps are announced, so that a schedule has not come to its end.
    """
    model.select_task(task.index)
    told = context(task, model, rule, max(done + steps, 1 if end else GOES_ON))
    if not done:
        rule.task_started(told)
        optimizer.task_started(told)
    batches = list(task.train.batches(BATCH_SIZE))
    losses = []
    for step in range(done, done + steps):
        inputs, targets = batches[step % len(batches)]
        loss = optimizer.step(rule.closure(model, Batch(inputs, targets, task.loss)))
        if not isinstance(loss, Tensor):
            raise TypeError(f"step() must return the loss as a tensor; it returned {loss!r}")
        losses.append(float(loss))
    if end:
        optimizer.task_ended(told)
        rule.task_ended(told)
    return losses


def learn(learner: Learner, task: Task | None = None, **how: Any) -> None:
    """Let model, rule and optimizer learn a task, by default the first, see `train`."""
    task = make_task() if task is None else task
    train(learner.model, learner.rule, learner.optimizer, task, **how)


def constant(model: Model, grads: Tensor | float, loss: float = 0.0) -> Callable[[], Tensor]:
    """Return a closure that gives every parameter the same gradient, whatever the weights are."""

    def closure() -> Tensor:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter) + grads
        return torch.tensor(loss)

    return closure


class _Linear(Classes):
    """The loss is linear in the logits: the label's, negative."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the labels' logits, negative."""
        return -outputs.gather(1, targets[:, None])[:, 0]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return their mean."""
        return self.losses(outputs, targets).mean()


def make_linear() -> tuple[Model, Task, Tensor]:
    """Return a binary linear layer, a task whose loss is linear in its weights, and the best ones.

    All images of a class are the same, and no pixel is near the mean. So the gradient is the same
    at all weights, and of 2^108 weights those are the best that have the signs of their class's
    image, (3, 36).
    """
    draws = seeds.generator(0, "linear")
    templates = 85 * torch.randint(0, 4, (CLASSES, *INPUT_SHAPE), generator=draws)
    labels = torch.arange(60) % CLASSES
    pixels = templates[labels].to(torch.uint8)
    train = task_of(pixels, labels, learned=60, mean=127.5, std=74.0).train
    best = torch.where(templates.flatten(1) > 127, 1.0, -1.0)
    model = make_linear_model(INPUT_SHAPE, CLASSES)
    return model, Task(0, "linear", train, train, objective=_Linear()), best
