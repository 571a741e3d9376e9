"""What the contracts train on: nothing here needs a plugin to be installed."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab import seeds
from bnnlab.families.latent import LatentOptimizer
from bnnlab.interfaces.context import TaskContext
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.objectives import Classes
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab.interfaces.rule import Batch, LearningRule
from bnnlab.interfaces.stream import Task
from bnnlab.nn.layers import BinaryConv2d, BinaryLinear, Sign
from bnnlab.nn.normalization import BatchNorm

INPUT_SHAPE = (1, 6, 6)
CLASSES = 3
BATCH_SIZE = 20
SIZES = ((6, 16), (16, CLASSES))
"""Inputs and outputs of the layers of `make_positions_model`."""


def make_task(index: int = 0) -> Task:
    """Return 60 images, each a noisy copy of one of three: separable. 20 of them are for test."""
    generator = seeds.generator(index, "toy data")
    templates = torch.randint(0, 256, (CLASSES, *INPUT_SHAPE), generator=generator)
    labels = torch.arange(60) % CLASSES
    noise = torch.randint(-40, 41, (60, *INPUT_SHAPE), generator=generator)
    pixels = (templates[labels] + noise).clamp(0, 255).to(torch.uint8)
    return task_of(pixels, labels, index, learned=40, mean=127.5, std=74.0)


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


def make_model(seed: int = 0) -> Model:
    """Return a convolution and two linear layers, binary, with signs between and real biases."""
    generator = seeds.generator(seed, "toy model")
    return Model(
        [
            nn.Sequential(BinaryConv2d(1, 4, 3, bias=True, generator=generator), Sign()),
            nn.Sequential(nn.Flatten(), BinaryLinear(64, 32, True, generator=generator), Sign()),
            nn.Sequential(BinaryLinear(32, CLASSES, True, generator=generator)),
        ],
        INPUT_SHAPE,
    )


def make_real_model(seed: int = 0) -> Model:
    """Return a convolution and a linear layer with real weights and biases."""
    generator = seeds.generator(seed, "toy model")
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation is replaced below
        convolution, linear = nn.Conv2d(1, 4, 3), nn.Linear(64, CLASSES)
    model = Model(
        [nn.Sequential(convolution, nn.ReLU(), nn.Flatten()), linear],
        INPUT_SHAPE,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.zero_()
    return model


def make_linear_model(
    input_shape: tuple[int, ...], classes: int, output: tuple[int, ...] = (), tokens: int = 0
) -> Model:
    """Return a binary linear layer for inputs of any shape.

    Args:
        input_shape: Of one input.
        classes: Number of logits K.
        output: Shape of the outputs for one input; by default `(K,)`.
        tokens: How many token ids there are, if inputs are such; each stands for a number.
    """
    generator, output = seeds.generator(0, "toy model"), output or (classes,)
    layer = BinaryLinear(math.prod(input_shape), math.prod(output), generator=generator)
    parts = [nn.Flatten(), layer, *[nn.Unflatten(1, output)] * (len(output) > 1)]
    if tokens:
        table = torch.linspace(-1, 1, tokens)[:, None]
        parts.insert(0, nn.Embedding(tokens, 1, _weight=table, _freeze=True))
    return Model([nn.Sequential(*parts)], input_shape, tokens or None)


def make_positions_model() -> Model:
    """Return two binary linear layers for each of the six rows of an image: logits (B, 6, 3)."""
    generator = seeds.generator(0, "toy model")
    first, last = (BinaryLinear(*sizes, True, generator=generator) for sizes in SIZES)
    return Model([nn.Sequential(nn.Flatten(1, 2), first, Sign()), last], INPUT_SHAPE)


def make_normalised_model() -> Model:
    """Return two binary linear layers with a batch normalisation by running averages between."""
    generator = seeds.generator(0, "toy model")
    first = BinaryLinear(36, 16, generator=generator)
    last = BinaryLinear(16, CLASSES, True, generator=generator)
    return Model(
        [nn.Sequential(nn.Flatten(), first, BatchNorm(16, "running"), Sign()), last], INPUT_SHAPE
    )


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

    any_loss = True

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run forward and backward once."""
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        torch.autograd.backward(loss)
        return loss, logits


class ToyOptimizer(LatentOptimizer):
    """Gradient descent on latent weights."""

    def update(
        self, group: Group, _parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        """Subtract the gradient, times the learning rate."""
        for value, grad in zip(values, grads, strict=True):
            value.sub_(grad, alpha=group["lr"])


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

    The task's start is announced unless steps were `done` before; its end is if asked for.
    """
    told = context(task, model, rule, done + steps)
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
