"""A plugin in which each line that says wrong is."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import torch
from torch import Tensor, nn

import bnnlab
from bnnlab import (
    Batch,
    Component,
    Kind,
    LatentOptimizer,
    LearningRule,
    LocalRule,
    Model,
    Optimizer,
    OptimizerAround,
    Probe,
    RuleAround,
    Task,
    TaskContext,
    TaskStream,
)
from bnnlab.interfaces.optimizer import Group
from bnnlab.interfaces.probe import Moment
from bnnlab_studies.engine import Engine
from bnnlab_tracking.tracker import Tracked, Tracker

COMPONENT = Component(Kind.RULE, "acme", "acme:Rule", "A rule.", 7)  # wrong
NAMELESS = bnnlab.LearningRul  # wrong


class Parameter(LearningRule):
    def differentiate(self, model: Model, batch: int) -> tuple[Tensor, Tensor]:  # wrong
        return torch.zeros(batch), torch.zeros(1)


class Returned(LearningRule):
    def differentiate(self, model: Model, batch: Batch) -> Tensor:  # wrong
        return batch.loss(model(batch.inputs), batch.targets)


class Value(LearningRule):
    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.loss(model(batch.inputs), batch.targets)  # wrong

    def attach(self, model: Model) -> None:  # wrong
        pass

    def diagnostics(self) -> dict[int, float]:  # wrong
        return {}


class Signal(LocalRule):
    def signal(self, output: Tensor, batch: Batch) -> Tensor:  # wrong
        return output


class Recalled(RuleAround):
    def recall(self, batch: Batch) -> Batch:  # wrong
        return batch

    def task_started(self, context: Model) -> None:  # wrong
        pass


class Update(LatentOptimizer):
    def update(self, group: Group, values: list[Tensor], grads: list[Tensor]) -> None:  # wrong
        pass


class Step(Optimizer):
    def step(self, closure: int) -> Tensor:  # wrong
        return torch.zeros(closure)

    def draw(self, parameter: str) -> Tensor:  # wrong
        return torch.zeros(1)


class Around(OptimizerAround):
    def step(self, closure: Callable[[], Tensor]) -> float:  # wrong
        return float(self.base.step(closure))

    def task_ended(self) -> None:  # wrong
        pass


class Net(Model):
    def forward(self, x: int) -> Tensor:  # wrong
        return torch.zeros(x)


class Stream(TaskStream):
    input_shape = (3,)
    classes = 2

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: str) -> Task:  # wrong
        return self[index]

    def protocol(self) -> str:  # wrong
        return "same"


class Stepped(Probe):
    def stepped(self, at: Moment, batch: Batch) -> None:  # wrong
        pass

    def measures(self) -> list[float]:  # wrong
        return []


class Alone(Engine):
    def executor(self) -> Executor:  # wrong
        raise NotImplementedError


class Table(Tracker):
    def start(self, run: Tracked) -> str:  # wrong
        return run.name

    def log(self, line: Mapping[str, Any]) -> None:  # wrong
        pass


def learn(x: Tensor, context: TaskContext) -> None:
    bnnlab.run(epochs="two")  # wrong
    bnnlab.run(rule=3)  # wrong
    bnnlab.stream_from((x, x), tests=0.2)  # wrong
    bnnlab.binarize(nn.Linear(2, 2), policy=1)  # wrong
    context.task.index = "first"  # wrong
