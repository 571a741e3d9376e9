"""The kit's simulated device, and what it finds in components that are right on the CPU alone."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.components import Kind
from bnnlab.diagnosis import diagnose
from bnnlab.evaluation import Evaluator
from bnnlab.layers import BinaryLinear, Sign
from bnnlab.learner import Learner
from bnnlab.model import Model
from bnnlab.optimizer import Group
from bnnlab.rule import Batch
from bnnlab.stream import Task, TaskStream
from bnnlab.testing import (
    LearningRuleContract,
    ModelContract,
    OptimizerContract,
    StreamContract,
    device_process,
    simulated_device,
    toy,
)
from bnnlab.testing.device_checks import DeviceChecks
from bnnlab.testing.device_rules import DeviceError, waits
from bnnlab.testing.pytest_plugin import MakePlugin
from bnnlab.training import Trainer
from bnnlab.uncertainty import summarise

WORKS = "test_it_works_on_every_device"
WAITS = "test_a_step_waits_for_the_device_as_often_as_declared"


class OfARule(LearningRuleContract):
    name = "thing"


class OfAnOptimizer(OptimizerContract):
    name = "thing"


class OfAModel(ModelContract):
    name = "thing"


class OfAStream(StreamContract):
    name = "thing"


CONTRACTS: dict[Kind, type[DeviceChecks]] = {
    Kind.RULE: OfARule,
    Kind.OPTIMIZER: OfAnOptimizer,
    Kind.MODEL: OfAModel,
    Kind.STREAM: OfAStream,
}


def fault(make_plugin: MakePlugin, kind: Kind, made: type, check: str, **told: Any) -> str | None:
    """Return why a component fails a check; None if it does not. The contract is `told` more."""
    make_plugin(
        "acme-device",
        f"""
from bnnlab import Component, Kind, hookimpl

@hookimpl
def bnnlab_components():
    return [Component(Kind("{kind}"), "thing", "{__name__}:{made.__name__}", "A thing.", "Nobody")]
""",
    )
    contract = CONTRACTS[kind]()
    vars(contract).update(told)
    try:
        getattr(contract, check)()
    except pytest.fail.Exception as failed:
        return str(failed)
    return None


# -------------------------------------------------------------------- rules


class Scales(toy.ToyRule):
    """Multiplies gradients by factors that it makes on the CPU."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.mul_(self.factor(parameter))
        return answer

    def factor(self, parameter: Tensor) -> Any:
        """Return a factor, as others make it."""
        return torch.ones(parameter.shape[-1:])


class ScalesByAttribute(Scales):
    """Keeps factors where neither a move nor a checkpoint finds them."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        widths = {p.shape[-1] for p in model.parameters()}
        self.factors = {width: torch.rand(width, generator=generator) for width in widths}

    def factor(self, parameter: Tensor) -> Tensor:
        return self.factors[parameter.shape[-1]]


class ScalesAtRandom(Scales):
    """Draws on the model's device from the generator that it was given, which is on the CPU."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.generator = generator

    def factor(self, parameter: Tensor) -> Tensor:
        return torch.empty_like(parameter).uniform_(generator=self.generator)


class ScalesPrecisely(Scales):
    """Needs float64."""

    def factor(self, parameter: Tensor) -> Tensor:
        return parameter.double().abs().mean().float()


class ScalesByNumber(Scales):
    """Asks the device for a number per parameter."""

    def factor(self, parameter: Tensor) -> float:
        return parameter.detach().abs().mean().item() + 1


class ScalesIfLarge(Scales):
    """Looks at the first gradient."""

    def factor(self, parameter: Tensor) -> float:
        first = parameter.ndim == 4
        return 0.5 if first and bool((parameter.abs() > 2).any()) else 1.0


class ScalesOnTheCPU(Scales):
    """Computes its factors on the CPU, from there and back."""

    def factor(self, parameter: Tensor) -> Tensor:
        return parameter.detach().cpu().sign().to(parameter.device)


class Dies(toy.ToyRule):
    """Takes the process with it, on a device."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.inputs.device.type == "simulated":
            os._exit(3)
        return super().differentiate(model, batch)


# -------------------------------------------------------------------- optimizers


class Averages(toy.ToyOptimizer):
    """Averages gradients, and keeps the averages beside torch's state."""

    def __init__(self, model: Model, *, generator: torch.Generator) -> None:
        super().__init__(model, generator=generator, lr=0.05)
        self.averages: dict[Tensor, Tensor] = {}

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        for parameter, grad in zip(parameters, grads, strict=True):
            average = self.averages.setdefault(parameter, torch.zeros_like(grad))
            average.lerp_(grad, 0.1)
        super().update(group, parameters, values, [self.averages[each] for each in parameters])

    def state_dict(self) -> dict[str, Any]:
        every = [p for group in self.param_groups for p in group["params"]]
        kept = [self.averages.get(each, torch.zeros_like(each)) for each in every]
        return {**super().state_dict(), "averages": kept}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        every = [p for group in self.param_groups for p in group["params"]]
        self.averages = dict(zip(every, state_dict["averages"], strict=True))


class AveragesAnew(Averages):
    """Forgets its averages where it is resumed on a device."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.averages = {p: each for p, each in self.averages.items() if p.device == each.device}


class Noisy(toy.ToyOptimizer):
    """Draws noise from the generator that it was given."""

    def __init__(self, model: Model, *, generator: torch.Generator) -> None:
        super().__init__(model, generator=generator, lr=0.05)
        self.noise = generator

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        noisy = [g + torch.empty_like(g).normal_(generator=self.noise) for g in grads]
        super().update(group, parameters, values, noisy)


class Clips(toy.ToyOptimizer):
    """Compares a norm with a bound on the host."""

    def __init__(self, model: Model, *, generator: torch.Generator) -> None:
        super().__init__(model, generator=generator, lr=0.05)

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        if sum(grad.square().sum() for grad in grads) < 1e9:
            super().update(group, parameters, values, grads)


# -------------------------------------------------------------------- models and streams


class Masks(Model):
    """Has a mask that is no buffer."""

    def __init__(
        self, *, input_shape: tuple[int, ...], classes: int, generator: torch.Generator
    ) -> None:
        size = torch.Size(input_shape).numel()
        first = BinaryLinear(size, 16, generator=generator)
        super().__init__(
            [
                nn.Sequential(nn.Flatten(), first, Sign()),
                BinaryLinear(16, classes, generator=generator),
            ],
            input_shape,
        )
        self.mask = torch.ones(classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = super().forward(x) * self.mask
        return logits


class Stream(TaskStream):
    """The kit's toy task."""

    input_shape, classes = toy.INPUT_SHAPE, toy.CLASSES

    def __init__(self, *, data: object, device: torch.device, seed: int) -> None:
        self.device = device

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Task:
        return self.change(toy.to(toy.make_task(range(1)[index]), self.device))

    def change(self, task: Task) -> Task:
        """Return the task; where the wrong ones go wrong."""
        return task

    def protocol(self) -> dict[str, Any]:
        return {"scenario": "toy"}


class LeavesLabels(Stream):
    """Leaves the labels on the CPU."""

    def change(self, task: Task) -> Task:
        return replace(task, train=replace(task.train, labels=task.train.labels.cpu()))


class LeavesClasses(Stream):
    """Leaves on the CPU which classes there are to choose among."""

    def change(self, task: Task) -> Task:
        return replace(task, classes=torch.ones(self.classes, dtype=torch.bool))


class LeavesDraws(Stream):
    """Augments with numbers that stay on the CPU."""

    def change(self, task: Task) -> Task:
        def augment(images: Tensor, draws: torch.Generator) -> Tensor:
            return images * torch.rand(len(images), 1, 1, 1, generator=draws)

        return replace(task, train=replace(task.train, augment=augment))


# -------------------------------------------------------------------- the tests

WRONG = [
    (Kind.RULE, Scales, WORKS, r"mul_ mixes devices.*\(at tests/test_kit_devices.py:\d+\)"),
    (Kind.RULE, ScalesByAttribute, WORKS, "mul_ mixes devices"),
    (Kind.RULE, ScalesAtRandom, WORKS, "uniform_ on simulated draws from a generator on cpu"),
    (Kind.RULE, ScalesPrecisely, WORKS, "float64 does not exist on every device"),
    (Kind.RULE, ScalesByNumber, WAITS, "waits for the device 6 times, and `waits` is 0: _loc"),
    (Kind.RULE, ScalesIfLarge, WAITS, "waits for the device 1 times"),
    (Kind.RULE, ScalesOnTheCPU, WAITS, "waits for the device 12 times"),
    (Kind.OPTIMIZER, Averages, WORKS, "lerp_ mixes devices"),
    (Kind.OPTIMIZER, AveragesAnew, WORKS, "a run goes another way"),
    (Kind.OPTIMIZER, Noisy, WORKS, "normal_ on simulated draws from a generator on cpu"),
    (Kind.OPTIMIZER, Clips, WAITS, "waits for the device 2 times"),
    (Kind.MODEL, Masks, WORKS, "mul mixes devices"),
    (Kind.STREAM, LeavesLabels, WORKS, "index mixes devices"),
    (Kind.STREAM, LeavesClasses, WORKS, "mixes devices"),
    (Kind.STREAM, LeavesDraws, WORKS, "mul mixes devices"),
]


@pytest.mark.parametrize(
    ("kind", "made", "check", "message"), WRONG, ids=lambda value: getattr(value, "__name__", None)
)
def test_what_works_on_the_cpu_alone_is_found(
    make_plugin: MakePlugin, kind: Kind, made: type, check: str, message: str
) -> None:
    found = fault(make_plugin, kind, made, check)
    assert found is not None
    assert re.search(message, found)


@pytest.mark.parametrize(("waits", "fine"), [(1, True), (0, False)])
def test_a_step_may_wait_as_often_as_its_contract_says(
    make_plugin: MakePlugin, waits: int, fine: bool
) -> None:
    found = fault(make_plugin, Kind.RULE, ScalesIfLarge, WAITS, waits=waits)
    assert (found is None) is fine


def test_a_class_that_no_other_process_finds_is_named() -> None:
    class Hidden(OfARule):
        pass

    with pytest.raises(pytest.fail.Exception, match="define Hidden at the top of its module"):
        Hidden().test_it_works_on_every_device()


@pytest.mark.slow  # two processes are made
def test_a_process_that_dies_fails_the_check_and_is_made_anew(make_plugin: MakePlugin) -> None:
    died = fault(make_plugin, Kind.RULE, Dies, WORKS)
    assert died == "the simulated device's process ended with exit code 3"
    with pytest.raises(pytest.fail.Exception, match="ended with exit code 3"):
        OfARule().test_it_works_on_every_device()


@pytest.mark.slow
def test_where_another_backend_has_the_place_the_checks_are_skipped(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = "import torch; torch.utils.rename_privateuse1_backend('npu'); "
    monkeypatch.setattr(device_process, "_SERVE", taken + device_process._SERVE)
    monkeypatch.setattr(device_process._Process, "_current", None)
    with pytest.raises(pytest.skip.Exception, match="private backend is taken by 'npu'"):
        fault(make_plugin, Kind.RULE, Scales, WORKS)


def test_a_torch_without_the_registration_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulated_device.unavailable() is None
    monkeypatch.delattr(simulated_device.registration, "_setup_privateuseone_for_python_backend")
    assert "takes no private backend" in str(simulated_device.unavailable())


# -------------------------------------------------------------------- the device itself


class OnTheDevice:
    """What the tests below do there."""

    def refuse(self, device: torch.device) -> None:
        here, there = torch.ones(3, 3, device=device), torch.ones(3, 3)
        own, other = torch.Generator(device), torch.Generator()
        refused: list[Callable[[], object]] = [
            lambda: here + there,
            lambda: there.add_(here),
            lambda: torch.zeros(()).add_(here.sum()),
            lambda: torch.cat([here, there]),
            lambda: torch.mul(here, here, out=there),
            lambda: here.index_select(0, torch.tensor([0])),
            lambda: there[torch.zeros(2, dtype=torch.int64, device=device)],
            lambda: torch.where(here > 0, here, there),
            lambda: F.cross_entropy(here, torch.arange(3)),
            lambda: here.uniform_(generator=other),
            lambda: there.uniform_(generator=own),
            lambda: torch.randperm(3, generator=own),
            lambda: here.double(),
            lambda: torch.zeros(2, dtype=torch.float64, device=device),
            lambda: setattr(here, "data", there),
        ]
        for number, operation in enumerate(refused):
            with pytest.raises(DeviceError):
                raise AssertionError(f"number {number} is not refused: {operation()}")
        with pytest.raises(RuntimeError):
            other.set_state(own.get_state())
        with pytest.raises(TypeError, match=r"call \.cpu\(\) first"):
            here.numpy()

    def count(self, device: torch.device) -> None:
        x, index, mask = torch.ones(3, device=device), torch.arange(2), torch.ones(3) > 0
        silent: list[Callable[[], object]] = [
            lambda: x * torch.tensor(2.0),
            lambda: x.masked_fill(x > 0, torch.tensor(0.0)),
            lambda: x.__setitem__(0, 1.0),
            lambda: x.__setitem__(x > 0, 1.0),
            lambda: x.to(device),
            lambda: index.to(device, non_blocking=True),
            lambda: torch.linalg.solve_ex(torch.eye(3, device=device), x),
        ]
        waiting: list[Callable[[], object]] = [
            lambda: float(x[0]),
            lambda: bool((x > 0).all()),
            lambda: x.tolist(),
            lambda: x.cpu(),
            lambda: index.to(device),
            lambda: torch.tensor([1.0], device=device),
            lambda: index.copy_(x[:2]),
            lambda: x[index],
            lambda: x[x > 0],
            lambda: x.nonzero(),
            lambda: torch.equal(x, x),
            lambda: torch.linalg.solve(torch.eye(3, device=device), x),
            lambda: x.masked_select(x > 0),
        ]
        for expected, operations in ((0, silent), (1, waiting)):
            for number, operation in enumerate(operations):
                waits.clear()
                operation()
                assert len(waits) == expected, f"number {number}: {waits}"
                assert all("tests/test_kit_devices.py:" in each for each in waits)
        assert mask.all()

    def compute(self, device: torch.device) -> None:
        weight = torch.zeros(4, device=device)
        weight[1:3].add_(1)  # a view of it
        assert weight.tolist() == [0, 1, 1, 0]
        assert torch.ones(1, 3, device=device).squeeze_(0).shape == (3,)
        layer = nn.Linear(2, 2)
        parameter = layer.weight
        copy = deepcopy(layer.to(device))
        assert layer.weight is parameter
        copy(torch.ones(1, 2, device=device)).sum().backward()
        assert copy.weight.grad is not None
        assert copy.weight.grad.device == device
        assert layer.weight.grad is None
        rows = torch.func.vmap(lambda x: x @ layer.weight)(torch.ones(3, 2, device=device))
        assert torch.equal(rows.cpu()[0], layer.weight.detach().cpu().sum(0))


@pytest.mark.parametrize("method", ["refuse", "count", "compute"])
def test_the_device_does_what_others_do(method: str) -> None:
    device_process.call_with_device(OnTheDevice(), method)


# -------------------------------------------------------------------- the core on it


class Core:
    """What the core does on the device beside what every contract asks for."""

    def loop(self, device: torch.device) -> None:
        """Make twenty steps, the first after a copy of the order, the last before a look."""
        model, task = toy.make_model().to(device), toy.to(toy.make_task(), device)
        counts: list[int] = []

        def stepped(*_: int) -> None:
            counts.append(len(waits))
            waits.clear()

        Trainer(
            **vars(Learner(model, toy.ToyRule(), toy.make_optimizer(model))),
            tasks=[task],
            task_ids=True,
            measure_uncertainty=False,
            diagnose=False,
            unknown=None,
            epochs=1,
            batch_size=2,
            seed=0,
            logged=lambda _: None,
            due=lambda: False,
            saved=lambda: None,
            stepped=stepped,
        ).run()
        assert counts[1:-1] == [0] * 18

    def measure(self, device: torch.device) -> None:
        """Measure on the device what is measured in float64 on the CPU."""
        model, task = toy.make_model().to(device), toy.to(toy.make_task(), device)
        evaluator = Evaluator(model, toy.make_optimizer(model), task_ids=False)
        (predicted,) = evaluator.predict([task], [task], lambda task: task.test)
        assert summarise(predicted, predicted).means["nll"] > 0
        with pytest.MonkeyPatch.context() as patch:  # or torch imports its compiler: seconds
            patch.setattr(torch.compiler, "set_stance", lambda _: nullcontext())
            rows = diagnose(toy.ToyRule(), model, Batch(*task.train.batch(torch.arange(20))))
        assert all(row["angle"] == pytest.approx(0, abs=1e-3) for row in rows)


def test_a_step_of_the_training_loop_waits_for_no_device() -> None:
    device_process.call_with_device(Core(), "loop")


def test_calibration_and_diagnosis_need_no_float64_on_the_device() -> None:
    device_process.call_with_device(Core(), "measure")
