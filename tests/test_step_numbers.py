"""What changes from step to step on the host, and where the operations of a step read it."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnnlab.families.around import OptimizerAround
from bnnlab.interfaces.elementwise import subtract
from bnnlab.interfaces.optimizer import Group, Optimizer
from bnnlab.interfaces.saying import says
from bnnlab.interfaces.step_numbers import StepNumbers
from bnnlab.nn.dropout import global_draws_kept
from bnnlab_testing import toy
from bnnlab_testing.device_process import call_with_device


class Cooling(toy.ToyOptimizer):
    """Has a rate that falls with the steps, which it counts, and notes what it reads of it."""

    capturable = True
    read: Any = None

    def step_numbers(self, group: Group) -> dict[str, float]:
        group["t"] = group.get("t", 0) + 1
        return {"lr": group["lr"] / group["t"]}

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        self.read = self.numbers_now(group)["lr"]
        super().update(group, parameters, values, grads)


class Twice(OptimizerAround):
    """Lets its base make two steps in one."""

    def step(self, closure: Any) -> Tensor:  # type: ignore[override]
        self.base.step(closure)
        return self.base.step(closure)


class Hastens(Optimizer):
    """Doubles its rate within a step, as a third party's may."""

    def step(self, closure: Any) -> Tensor:  # type: ignore[override]
        loss = closure()
        for group in self.param_groups:
            group["lr"] *= 2
        with torch.no_grad():
            self.step_real()
        return loss


def trained(optimizer: Optimizer, steps: int = 3, model: Any = None) -> Any:
    """Return an optimizer of a toy model that has made steps."""
    toy.train(model, toy.ToyRule(), optimizer, toy.make_task(), steps=steps)
    return optimizer


def cooling() -> tuple[Any, Cooling]:
    """Return a model and an optimizer."""
    model = toy.make_model()
    return model, Cooling(model, generator=torch.Generator(), lr=0.05)


def test_on_the_cpu_they_are_pythons_and_in_a_step_alone() -> None:
    model, optimizer = cooling()
    trained(optimizer, model=model)
    assert optimizer.read == 0.05 / 3
    (group, _) = optimizer.param_groups
    assert optimizer.numbers_now(group) == {}
    with pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)
    assert optimizer.numbers_now(group) == {}
    assert copy.deepcopy(optimizer)._numbers.of(group) == {}


def test_frozen_weights_count_no_steps() -> None:
    model, optimizer = cooling()
    trained(optimizer, model=model)
    for parameter in optimizer.learned():
        parameter.requires_grad_(False)
    trained(optimizer, model=model)
    assert [group["t"] for group in optimizer.param_groups] == [3, 6]


def test_a_base_counts_the_steps_that_it_makes() -> None:
    model, base = cooling()
    trained(Twice(model, base), model=model)
    assert [group["t"] for group in base.param_groups] == [6, 6]


def test_a_rate_that_is_changed_within_a_step_counts_where_nothing_else_is_said() -> None:
    model = toy.make_model()
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    optimizer = trained(Hastens(model, lr=0.05), steps=1, model=model)
    moved = {n: p - before[n] for n, p in model.named_parameters() if p not in optimizer._binary}
    assert moved
    for each in moved.values():  # Adam's first step is as large as the rate
        torch.testing.assert_close(each.abs().amax(), torch.tensor(0.1), rtol=1e-3, atol=0)


def test_a_class_that_changes_a_method_says_again_what_it_is() -> None:
    class Inherits(Cooling):
        def update(self, *given: Any) -> None: ...

    class Documented(Cooling):
        """Changes nothing."""

    made = [
        cls(toy.make_model(), generator=torch.Generator(), lr=0.05)
        for cls in (Cooling, Inherits, Documented)
    ]
    assert [says(each, "capturable") for each in made] == [True, False, True]


class OnTheDevice:
    """What happens on the simulated device, in its process."""

    def numbers(self, device: torch.device) -> None:
        numbers, group = StepNumbers(), {"params": [torch.zeros(1, device=device)]}
        numbers.write(group, {"lr": 0.25})
        first = numbers.of(group)["lr"]
        numbers.write(group, {"lr": 0.125})
        assert numbers.of(group)["lr"] is first
        value = torch.ones(2, dtype=torch.float16, device=device)
        subtract(value, torch.ones(2, dtype=torch.float16, device=device), first)
        assert value.tolist() == [0.875, 0.875]

    def moves(self, device: torch.device) -> None:
        model, optimizer = cooling()
        trained(optimizer, model=model)
        task = toy.to(toy.make_task(), device)
        toy.train(model.to(device), toy.ToyRule(), optimizer, task, steps=1)
        assert float(optimizer.read) == pytest.approx(0.05 / 4)

    def draws(self, device: torch.device) -> None:
        class Noisy(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) + torch.rand(2, device=x.device)

        hooked = nn.Linear(2, 2)
        hooked.register_forward_hook(lambda *_: None)
        x = torch.ones(1, 2, device=device)
        for part, is_kept in (
            (nn.Linear(2, 2), False),
            (nn.Dropout(0.5), True),
            (Noisy(2, 2), True),
            (hooked, True),
        ):
            model = nn.Sequential(part, nn.ReLU()).to(device)
            before = torch.get_rng_state()
            with global_draws_kept(model, device):
                first = model(x)
                torch.rand(1)
            assert torch.equal(torch.get_rng_state(), before) is is_kept, part
            assert not is_kept or torch.equal(first, model(x))


@pytest.mark.parametrize("method", ["numbers", "moves"])
def test_on_a_device_they_are_tensors_that_stay_in_place(method: str) -> None:
    call_with_device(OnTheDevice(), method)


def test_states_of_generators_are_read_where_a_model_may_draw() -> None:
    call_with_device(OnTheDevice(), "draws")
