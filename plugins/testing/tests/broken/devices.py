"""Components that are right on the CPU alone."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Group
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.stream import Task
from bnnlab_testing import toy
from broken import found_by, models, optimizers, right, streams
from broken.rules import Scales

WORKS = "test_it_works_on_every_device"
WAITS = "test_a_step_waits_for_the_device_as_often_as_declared"


@found_by(WORKS, r"mul_ mixes devices.*\(at broken/rules.py:\d+\)")
class ScalesOnTheCPU(Scales):
    """Multiplies gradients by factors that it makes on the CPU."""

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return torch.ones(parameter.shape[-1:])


@found_by(WORKS, "mul_ mixes devices")
class ScalesByAttribute(Scales):
    """Keeps factors where neither a move nor a checkpoint finds them."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        widths = {p.shape[-1] for p in model.parameters()}
        self.factors = {width: torch.rand(width, generator=generator) for width in widths}

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return self.factors[parameter.shape[-1]]


@found_by(WORKS, "uniform_ on simulated draws from a generator on cpu")
class ScalesAtRandom(Scales):
    """Draws on the model's device from the generator that it was given, which is on the CPU."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.generator = generator

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return torch.empty_like(parameter).uniform_(generator=self.generator)


@found_by(WORKS, "float64 does not exist on every device")
class ScalesPrecisely(Scales):
    """Needs float64."""

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return parameter.double().abs().mean().float()


@found_by(
    WAITS,
    r"waits for the device 6 times, and `waits` is 0: _local_scalar_dense at \S+ \(6 times\)\. Copy"
    r".*or allow it: `waits = 6` in ScalesByNumber",
)
class ScalesByNumber(Scales):
    """Asks the device for a number per parameter."""

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return parameter.detach().abs().mean().item() + 1


@found_by(WAITS, "waits for the device 1 times")
class ScalesIfLarge(Scales):
    """Looks at the first gradient."""

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        first = parameter.ndim == 4
        return 0.5 if first and bool((parameter.abs() > 2).any()) else 1.0


@found_by(WAITS, "waits for the device 6 times")
class ScalesInEveryFifthStep(ScalesByNumber):
    """Asks the device for numbers in every fifth step, to no end."""

    steps = 0

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        self.steps += 1
        return super().differentiate(model, batch)

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        if self.steps % 5 == 0:
            super().factor(parameter, batch)
        return 1.0


@found_by(WAITS, "waits for the device 12 times")
class ScalesFromTheCPU(Scales):
    """Computes its factors on the CPU, from there and back."""

    def factor(self, parameter: Tensor, batch: Batch) -> Tensor:
        return parameter.detach().cpu().sign().to(parameter.device)


RECORDED = "test_a_recorded_step_can_be_repeated"


@found_by(RECORDED, r"in step_started\(\) of a rule, write it into a buffer")
class CountsOnTheHost(Scales):
    """Has a factor that a recorded step does not change."""

    capturable = True
    steps = 0

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        self.steps += 1
        return 1 / self.steps


@found_by(RECORDED, "a step that waits cannot be recorded: _local_scalar_dense at ")
class WaitsForTheNorm(Scales):
    """Asks the device for a number."""

    capturable, waits = True, 6

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        return parameter.detach().abs().mean().item() + 1


@found_by(RECORDED, "the state of a generator is read or set while a step is recorded")
class DrawsTheSameTwice(Scales):
    """Puts back the state of torch's generator of the device."""

    capturable = True

    def factor(self, parameter: Tensor, batch: Batch) -> float:
        with torch.random.fork_rng([parameter.device], device_type=parameter.device.type):
            return 1.0


@found_by(RECORDED, r"Give it by step_numbers\(\) of an optimizer")
class Cools(optimizers.Fine):
    """Computes its rate on the host, within the step."""

    capturable = True

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        count = self.state[parameter].get("count", 0) + 1
        self.state[parameter]["count"] = count
        return grad / count


@right(RECORDED)
class CoolsBefore(optimizers.Fine):
    """Counts as a step begins."""

    capturable = True

    def step_numbers(self, group: Group) -> dict[str, float]:
        group["count"] = group.get("count", 0) + 1
        return {"lr": group["lr"] / group["count"]}

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad


class Dies(toy.ToyRule):
    """Takes the process with it, on a device."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.inputs.device.type == "simulated":
            os._exit(3)
        return super().differentiate(model, batch)


@found_by(WORKS, "lerp_ mixes devices")
class Averages(optimizers.Fine):
    """Averages gradients, and keeps the averages beside torch's state."""

    def __init__(self, model: Model, **given: Any) -> None:
        super().__init__(model, **given)
        self.averages: dict[Tensor, Tensor] = {}

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        average = self.averages.setdefault(parameter, torch.zeros_like(grad))
        return average.lerp_(grad, 0.1)

    def state_dict(self) -> dict[str, Any]:
        kept = [self.averages.get(each, torch.zeros_like(each)) for each in self.every()]
        return {**super().state_dict(), "averages": kept}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.averages = dict(zip(self.every(), state_dict["averages"], strict=True))

    def every(self) -> list[Tensor]:
        """Return all parameters."""
        return [parameter for group in self.param_groups for parameter in group["params"]]


@found_by(WORKS, "a run goes another way")
class AveragesAnew(Averages):
    """Forgets its averages where it is resumed on a device."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.averages = {p: each for p, each in self.averages.items() if p.device == each.device}


@found_by(WORKS, "normal_ on simulated draws from a generator on cpu")
class Noisy(optimizers.Fine):
    """Draws noise from the generator that it was given."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.noise = generator

    def change(self, parameter: Tensor, grad: Tensor) -> Tensor:
        return grad + torch.empty_like(grad).normal_(generator=self.noise)


class SaysThatItWaits(ScalesIfLarge):
    """Looks at the first gradient, and says so."""

    waits = 1


@found_by(WAITS, "waits for the device 2 times")
class Clips(optimizers.Fine):
    """Compares a norm with a bound on the host."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        if sum(grad.square().sum() for grad in grads) < 1e9:
            super().update(group, parameters, values, grads)


@found_by(WORKS, "mul mixes devices")
class Masks(models.Fine):
    """Has a mask that is no buffer."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.mask = torch.ones(given["classes"])

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.mask


@found_by(WORKS, "index mixes devices")
class LeavesLabels(streams.Fine):
    """Leaves the labels on the CPU."""

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, labels=task.train.labels.cpu()))


@found_by(WORKS, "mixes devices")
class LeavesClasses(streams.Fine):
    """Leaves on the CPU which classes there are to choose among."""

    def change(self, task: Task) -> Task:
        return replace(task, classes=torch.ones(self.classes, dtype=torch.bool))


@found_by(WORKS, "mul mixes devices")
class LeavesDraws(streams.Fine):
    """Augments with numbers that stay on the CPU."""

    def change(self, task: Task) -> Task:
        def augment(images: Tensor, draws: torch.Generator) -> Tensor:
            return images * torch.rand(len(images), 1, 1, 1, generator=draws)

        return replace(task, train=replace(task.train, augment=augment))
