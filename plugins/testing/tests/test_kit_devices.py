"""The kit's simulated device, and the core on it."""

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from broken.devices import WAITS, WORKS, Dies, SaysThatItWaits, ScalesIfLarge
from broken.kit import OfARule, failures
from torch import nn

from bnnlab.engine.evaluation import Evaluator
from bnnlab.engine.learner import Learner
from bnnlab.engine.training import Trainer
from bnnlab.interfaces.probe import Control
from bnnlab.interfaces.rule import Batch
from bnnlab_analysis.diagnosis import diagnose
from bnnlab_analysis.uncertainty import summary_of
from bnnlab_testing import device_process, simulated_device, toy
from bnnlab_testing.device_rules import DeviceError, waits
from bnnlab_testing.lives import run_of
from bnnlab_testing.pytest_plugin import MakePlugin


@pytest.mark.parametrize(("waits", "fine"), [(1, True), (0, False)])
def test_a_step_may_wait_as_often_as_its_contract_says(
    make_plugin: MakePlugin, waits: int, fine: bool
) -> None:
    found = failures(make_plugin, ScalesIfLarge, only=WAITS, attributes={"waits": waits})
    assert bool(found) is not fine


def test_a_rule_may_wait_as_often_as_it_says_itself(make_plugin: MakePlugin) -> None:
    assert not failures(make_plugin, SaysThatItWaits, only=WAITS)


def test_a_class_that_no_other_process_finds_is_named() -> None:
    class Hidden(OfARule):
        pass

    with pytest.raises(pytest.fail.Exception, match="define Hidden at the top of its module"):
        Hidden().test_it_works_on_every_device()


@pytest.mark.slow  # two processes are made
def test_a_process_that_dies_fails_the_check_and_is_made_anew(make_plugin: MakePlugin) -> None:
    died = failures(make_plugin, Dies, only=WORKS)
    assert died == {WORKS: "the simulated device's process ended with exit code 3"}
    with pytest.raises(pytest.fail.Exception, match="ended with exit code 3"):
        OfARule().test_it_works_on_every_device()


@pytest.mark.skipif(simulated_device.unavailable() is not None, reason="torch takes none")
@pytest.mark.slow
def test_where_another_backend_has_the_place_the_checks_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = "import torch; torch.utils.rename_privateuse1_backend('npu'); "
    monkeypatch.setattr(device_process, "_SERVE", taken + device_process._SERVE)
    monkeypatch.setattr(device_process._Process, "_current", None)
    with pytest.raises(pytest.skip.Exception, match="private backend is taken by 'npu'"):
        device_process.call_with_device(OfARule(), "work_on")


def test_a_torch_without_the_registration_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulated_device.unavailable() is None or torch.__version__ < (2, 11)
    name = "_setup_privateuseone_for_python_backend"
    monkeypatch.delattr(simulated_device.registration, name, raising=False)
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
        with torch.autocast(device.type, torch.bfloat16):
            layer(torch.ones(1, 2, device=device))
        assert f"{weight.sum():.1f}" == "2.0"
        with pytest.raises(simulated_device.UnsupportedError, match="fused_lstm"):
            nn.LSTM(2, 2).to(device)(torch.ones(1, 1, 2, device=device))
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

        learner = Learner(model, toy.ToyRule(), toy.make_optimizer(model))
        run = run_of(learner, [task], task_ids=True, epochs=1, batch_size=2)
        Trainer(run, learner.progress, Control(stepped=stepped)).run()
        assert counts[1:-1] == [0] * 18

    def measure(self, device: torch.device) -> None:
        """Measure on the device what is measured in float64 on the CPU."""
        model, task = toy.make_model().to(device), toy.to(toy.make_task(), device)
        evaluator = Evaluator(model, toy.make_optimizer(model), task_ids=False)
        ([(_, predicted)],) = evaluator.predict([task], [task])
        assert summary_of(predicted, predicted).means["nll"] > 0
        with pytest.MonkeyPatch.context() as patch:  # or torch imports its compiler: seconds
            patch.setattr(torch.compiler, "set_stance", lambda _: nullcontext())
            rows = diagnose(toy.ToyRule(), model, Batch(*task.train.batch(torch.arange(20))))
        assert all(row["angle"] == pytest.approx(0, abs=1e-3) for row in rows)


def test_a_step_of_the_training_loop_waits_for_no_device() -> None:
    device_process.call_with_device(Core(), "loop")


def test_calibration_and_diagnosis_need_no_float64_on_the_device() -> None:
    device_process.call_with_device(Core(), "measure")
