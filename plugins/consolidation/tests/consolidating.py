"""What tests of consolidation share: optimizers, and tasks of noise."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import bnnlab
from bnnlab import Maker, Model, Optimizer, TaskContext
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.stream import Task
from bnnlab_consolidation.consolidation import Consolidation
from bnnlab_consolidation.ewc import EWC
from bnnlab_consolidation.si import SI
from bnnlab_testing import toy

KINDS: dict[str, type[Consolidation]] = {"ewc": EWC, "si": SI}


def make_task(index: int = 0, classes: int = 10, examples: int = 40) -> Task:
    draws = torch.Generator().manual_seed(100 + index)
    pixels = torch.randn(examples, 1, 8, 8, generator=draws)
    labels = torch.randint(0, classes, (examples,), generator=draws)
    mean, std = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    part = Examples(pixels, labels, torch.arange(examples), mean, std)
    return Task(index, "noise", part, part)


def context(model: Model, task: Task | None = None) -> TaskContext:
    return TaskContext(task or make_task(), model, toy.ToyRule(), 16, 15)


def make_closure(model: Model, seed: int) -> Callable[[], Tensor]:
    batch = make_task(seed, examples=16).train.batch(torch.arange(16))
    inputs = batch[0].to(next(model.parameters()))
    return toy.ToyRule().closure(model, Batch(inputs, batch[1]))


def based(name: str, **options: Any) -> Maker:
    """Return a base with options."""
    return Maker.of("optimizer", name, **options)


def make(kind: type[Consolidation], model: Model, **options: Any) -> Any:
    return kind(model, generator=torch.Generator().manual_seed(2), **options)


def make_base(model: Model, base: str, **options: Any) -> Optimizer:
    """The base as a consolidating optimizer from `make` has it."""
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(2)))
    made: Optimizer = bnnlab.create("optimizer", base, model, seed=seed, **options)
    return made


def train(model: Model, optimizer: Optimizer, steps: int, *, ends: tuple[int, ...] = ()) -> None:
    for step in range(steps):
        optimizer.step(make_closure(model, step))
        if step in ends:
            optimizer.task_ended(context(model, make_task(step)))
