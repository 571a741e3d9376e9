"""A plugin in which type checkers find nothing."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Annotated, Any

import torch
from torch import Tensor, nn

import bnnlab
from bnnlab import (
    AtLeast,
    Batch,
    Component,
    Examples,
    Kind,
    LatentOptimizer,
    LearningRule,
    LocalRule,
    Maker,
    Memory,
    Model,
    Optimizer,
    OptimizerAround,
    Part,
    Positive,
    Probe,
    RuleAround,
    Task,
    TaskContext,
    TaskStream,
    UsageError,
    hookimpl,
)
from bnnlab.deprecation import warn_of_setting
from bnnlab.interfaces.optimizer import Group
from bnnlab.interfaces.probe import Moment
from bnnlab_studies.engine import Engine
from bnnlab_tracking.tracker import Tracked, Tracker


@hookimpl
def bnnlab_components() -> Sequence[Component]:
    return [Component(Kind.RULE, "acme", "acme.rule:Plain", "Plain.", "an example")]


class Plain(LearningRule):
    def __init__(self, size: Positive = 0.01, often: Annotated[int, AtLeast(1)] = 1) -> None:
        super().__init__()
        self.size, self.often = size, often

    def attach(self, model: Model, generator: torch.Generator) -> None:
        if model.input_shape is None:
            raise UsageError("give the model an input_shape")
        self.memory = Memory(10, generator=generator)

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits: Tensor = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        torch.autograd.backward(loss)
        return loss, batch.masked(logits)

    def task_started(self, context: TaskContext) -> None:
        self.often = context.steps + context.task.index


class Near(LocalRule):
    def signal(self, number: int, output: Tensor, batch: Batch) -> Tensor:
        return output * number / len(batch.targets)


class Again(RuleAround):
    def __init__(
        self, base: Annotated[Maker | str, Part("rule", passes=("gradients",))] = "bp"
    ) -> None:
        super().__init__(Maker.of("rule", base)())

    def recall(self, model: Model, batch: Batch) -> Batch:
        return batch

    def task_ended(self, context: TaskContext) -> None:
        super().task_ended(context)


class Momentum(LatentOptimizer):
    def __init__(self, model: Model, *, generator: torch.Generator, lr: Positive = 0.1) -> None:
        super().__init__(model, generator=generator, lr=lr)

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        for value, grad in zip(values, grads, strict=True):
            value.sub_(grad, alpha=group["lr"])


class Twice(OptimizerAround):
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        self.base.step(closure)
        return self.base.step(closure)


class Net(Model):
    def __init__(
        self, input_shape: tuple[int, ...], classes: int, generator: torch.Generator
    ) -> None:
        layers = [bnnlab.BinaryLinear(input_shape[0], 8), nn.Linear(8, classes)]
        super().__init__(layers, input_shape)


class Same(TaskStream):
    input_shape = (3,)
    classes = 2

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Task:
        part = Examples(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), torch.arange(4))
        return Task(index, "same", part, part)

    def protocol(self) -> dict[str, Any]:
        return {"name": "same"}


class Lowest(Probe):
    lowest = float("inf")

    def stepped(self, at: Moment, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        self.lowest = at.steps

    def measures(self) -> Mapping[str, Any]:
        return {"acme_lowest": self.lowest}


class Alone(Engine):
    def __init__(self) -> None:
        self.threads = self.jobs = 1

    def executor(self, count: int) -> Executor:
        return ProcessPoolExecutor(count)


class Table(Tracker):
    def start(self, run: Tracked) -> int | None:
        return run.delivered

    def log(self, index: int, line: Mapping[str, Any]) -> None:
        warn_of_setting(f"{index}", f"{line}", "acme 0.2")


def learn(x: Tensor, y: Tensor) -> float:
    stream = bnnlab.stream_from((x, y), test=0.2)
    model = bnnlab.binarize(nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), input_shape=(3,))
    result = bnnlab.run(model=model, stream=stream, rule="bp", epochs=1)
    accuracy = result.average_accuracy
    optimizer: Optimizer = bnnlab.create("optimizer", "adam", result.model)
    found = bnnlab.evaluate(result.model, stream, optimizer, learned=1)
    return accuracy or float(found["accuracy"][0][0])
