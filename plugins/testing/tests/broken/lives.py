"""Rules and optimizers that go another way in a long life, beside others, or elsewhere."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from broken import found_by, right
from broken.optimizers import ANOTHER_WAY, GOES_ON, Fine
from broken.rules import Scales

LONG = "test_a_long_task_goes_on_bit_for_bit"
ALONE = "test_two_in_one_process_do_not_meet"
ELSEWHERE = "test_another_process_gives_the_same"


@found_by(LONG, ANOTHER_WAY)
class RestsEveryTenthStep(Fine):
    """Learns nothing in every tenth step; an attribute counts."""

    steps = 0

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        self.steps += 1
        return super().step(closure)

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad * (self.steps % 10 > 0)


@found_by(LONG, ANOTHER_WAY)
class WarmsUp(Scales):
    """Begins with larger and larger gradients from the twelfth step on; an attribute counts."""

    steps = 0

    def step_started(self) -> None:
        self.steps += 1

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return min(max(self.steps / 12, 1.0), 2.0)


@found_by(LONG, ANOTHER_WAY)
class KnowsTheFirstExamples(Scales):
    """Scales by the labels of the first sixty examples, once it has all; they are in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[int] = []

    def remember(self, batch: Batch, logits: Tensor) -> None:
        self.labels = [*self.labels, *batch.targets.tolist()][:60]

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return 1.5 if len(self.labels) == 60 else 1.0


@right(LONG, GOES_ON, ALONE, ELSEWHERE)
class RestsByItsState(RestsEveryTenthStep):
    """Counts in its groups."""

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        group = next(each for each in self.param_groups if parameter in set(each["params"]))
        group["steps"] = group.get("steps", 0) + 1
        return grad * (group["steps"] % (10 * len(group["params"])) > 0)


@found_by(ALONE, "where others learn beside it, it learns something else")
class HasTheLastRate(Fine):
    """Has the learning rate of the one that was made last."""

    rate = 0.05

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        HasTheLastRate.rate = given.get("lr", 0.05)

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad * self.rate


_FOUND: dict[tuple[int, ...], Tensor] = {}


@found_by(ALONE, "where others learn beside it, it learns something else")
class SharesItsMeans(Scales):
    """Scales by the mean of the gradients of all parameters of a shape that any of them had."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.first = [*model.parameters()][-1]
        _FOUND.clear()

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        size = parameter.grad.abs().mean()
        mean = _FOUND.setdefault(tuple(parameter.shape), size)
        _FOUND[tuple(parameter.shape)] = mean.lerp(size, 0.5)
        return size / mean


@found_by(ELSEWHERE, "in another process it learns something else")
class ScalesByNames(Scales):
    """Scales by a number that is made of a name, and is another in each process."""

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return 1 + hash("weight" * parameter.ndim) % 1000 / 1000


@found_by(ELSEWHERE, "in another process it learns something else")
class GoesThroughASet(Fine):
    """Slows down from one to the next of a set of texts."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        names = {f"{name} of {model.input_shape}" for name, _ in model.named_parameters()}
        self.ranks = dict(zip(model.parameters(), map([*names].index, sorted(names)), strict=True))

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad / (1 + self.ranks.get(parameter, 0))
