"""Model and optimizer agree, whatever is frozen, grouped or not finite between two steps."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR
from trained_toys import BINARY, REAL, first_weight, go_on, trained

import bnnlab
from bnnlab import BinaryLinear, Model, Optimizer, RunError, TaskContext, UsageError
from bnnlab_testing import toy
from bnnlab_testing.asserting import flat

# -------------------------------------------------------------------- frozen


class Tightens(toy.ToyOptimizer):
    """Shrinks what is behind its weights when it hears of a task."""

    def task_started(self, context: TaskContext) -> None:
        for parameter in self.learned():
            self.state[parameter]["latent"].mul_(0.5)

    task_ended = task_started


def test_what_an_optimizer_does_between_tasks_leaves_frozen_weights_alone() -> None:
    model = toy.make_model()
    optimizer = Tightens(model, generator=torch.Generator(), lr=0.05)
    model.segments[0].requires_grad_(False)
    frozen, free = list(model.binary_parameters().values())[:2]
    before = [optimizer.state[weight]["latent"].clone() for weight in (frozen, free)]
    toy.train(model, toy.ToyRule(), optimizer, toy.make_task(), steps=0, end=True)
    assert torch.equal(optimizer.state[frozen]["latent"], before[0])
    assert torch.equal(optimizer.state[free]["latent"], before[1] / 4)
    assert any(frozen is each for each in optimizer.learned())


class Decays:
    """Halves what is behind the weights before each step of the optimizer that it is mixed into."""

    def step(self: Any, closure: Callable[[], Tensor]) -> Tensor:
        for weight in self.learned():
            self.state[weight]["latent"].mul_(0.5)
        loss: Tensor = super().step(closure)  # type: ignore[misc]
        return loss


class Mixed(Decays, toy.ToyOptimizer):
    """Has the `step` of a mixin."""


def test_the_step_of_a_mixin_leaves_frozen_weights_alone() -> None:
    model = toy.make_model()
    optimizer = Mixed(model, generator=torch.Generator(), lr=0.05)
    weight = first_weight(model).requires_grad_(False)
    before = optimizer.state[weight]["latent"].clone()
    go_on(model, optimizer)
    assert torch.equal(optimizer.state[weight]["latent"], before)


# -------------------------------------------------------------------- copies, groups, schedulers


def test_a_scheduled_optimizer_is_copied() -> None:
    both = trained("adam")
    scheduler = OneCycleLR(both[1], 0.01, total_steps=9)
    go_on(*both)
    scheduler.step()
    _, optimizer, its = copy.deepcopy((*both, scheduler))
    its.step()
    assert optimizer.param_groups[0]["lr"] == its.get_last_lr()[0] != scheduler.get_last_lr()[0]


@pytest.mark.parametrize("name", ["adam", "ewc"])
def test_a_group_that_is_added_is_learned_as_other_real_parameters_are(name: str) -> None:
    _, optimizer = trained(name)
    new = nn.Parameter(torch.full((4,), 0.5))
    optimizer.add_param_group({"params": [new]})
    assert optimizer.param_groups[-1]["lr"] == optimizer.param_groups[-2]["lr"]
    new.grad = torch.ones(4)
    optimizer.step(lambda: torch.zeros(()))
    assert bool((new < 0.5).all())


@pytest.mark.parametrize("name", [*BINARY, *REAL])
def test_parted_groups_are_learned_as_one(name: str) -> None:
    (model, optimizer), (other, its) = trained(name), trained(name)
    for group in list(optimizer.param_groups):
        *rest, last = group["params"]
        group["params"] = rest
        kind = {key: group[key] for key in ("learned", "binary")}
        optimizer.add_param_group({"params": [last], **kind})
    assert go_on(model, optimizer) == go_on(other, its)
    assert flat(model.state_dict()) == flat(other.state_dict())
    assert optimizer.diagnostics() == its.diagnostics()


def test_a_group_of_new_binary_weights_is_refused_in_words() -> None:
    model, optimizer = trained("adam")
    model.segments.append(BinaryLinear(3, 3))
    weight = model.segments[3].get_parameter("weight")
    with pytest.raises(UsageError, match="make a new optimizer"):
        optimizer.add_param_group({"params": [weight], "learned": True, "binary": True})
    optimizer.add_param_group({"params": [weight]})
    with pytest.raises(RunError, match=r"segments\.3\.weight is binary, and LatentAdam has it in"):
        go_on(model, optimizer, steps=50)


@pytest.mark.parametrize("name", ["adam", "sgd"])
@pytest.mark.parametrize(
    "make",
    [
        lambda it: OneCycleLR(it, 0.01, total_steps=6),
        lambda it: CyclicLR(it, 0.001, 0.01, step_size_up=2),
    ],
)
def test_schedulers_that_cycle_momentum_do(name: str, make: Callable[[Optimizer], Any]) -> None:
    model, optimizer = trained(name)
    scheduler, seen = make(optimizer), set()
    for _ in range(3):
        go_on(model, optimizer)
        scheduler.step()
        group = optimizer.param_groups[0]
        seen.add(group["betas"][0] if "betas" in group else group["momentum"])
    assert len(seen) > 1


# -------------------------------------------------------------------- what signs hide


@pytest.mark.parametrize("name", ["adam", "mesu"])
def test_inputs_that_are_no_numbers_are_noticed_within_50_steps(name: str) -> None:
    model, optimizer = trained(name)
    inputs, targets = next(toy.make_task().train.batches(20))
    optimizer.step(toy.ToyRule().closure(model, (inputs * math.nan, targets)))
    with pytest.raises(RunError, match="is not finite"):
        go_on(model, optimizer, steps=50)


def test_what_is_no_number_is_found_in_lists_too() -> None:
    model, optimizer = trained("adam")
    optimizer.state[first_weight(model)]["parts"] = [{"one": torch.tensor([0.0, math.inf])}]
    with pytest.raises(RunError, match=r"'parts', kept behind segments\.0\.0\.weight, is not fin"):
        optimizer.look()


@pytest.mark.parametrize("number", [float, torch.tensor])
def test_a_loss_that_is_no_number_is_noticed_within_50_steps(number: Callable[..., Any]) -> None:
    model, optimizer = trained("adam")

    def closure() -> Any:
        for parameter in model.parameters():  # as of an empty batch
            parameter.grad = torch.zeros_like(parameter)
        return number(math.nan)

    optimizer.step(closure)
    with pytest.raises(RunError, match="LatentAdam: the loss is not finite"):
        go_on(model, optimizer, steps=50)


def test_numbers_whose_squares_are_infinite_are_finite() -> None:
    model, optimizer = trained("adam")
    with torch.no_grad():
        model.segments[2][0].bias.fill_(1e30)
    optimizer.look()


def test_float16_is_learned_in_or_refused_by_name() -> None:
    model = toy.make_model().half()
    optimizer = bnnlab.create("optimizer", "meta", model)
    inputs, targets = next(toy.make_task().train.batches(20))
    with pytest.raises(UsageError, match=r"eps 1e-08 is too small for torch\.float16"):
        optimizer.step(toy.ToyRule().closure(model, (inputs.half(), targets)))


class HasNoSigns(toy.ToyOptimizer):
    """Has its latent weights in the model."""

    def write(self, parameters: Sequence[Tensor], latents: Sequence[Tensor]) -> None:
        for parameter, latent in zip(parameters, latents, strict=True):
            parameter.copy_(latent)


def test_an_optimizer_whose_weights_are_no_signs_is_named_within_50_steps() -> None:
    model = toy.make_model()
    optimizer = HasNoSigns(model, generator=torch.Generator(), lr=0.05)
    with pytest.raises(RunError, match=r"'segments\.0\.0\.weight' .*HasNoSigns left"):
        go_on(model, optimizer, steps=51)


def test_a_step_that_fails_leaves_the_optimizer_as_it_was() -> None:
    model, optimizer = trained("adam")
    first_weight(model).requires_grad_(False)
    sizes = [len(group["params"]) for group in optimizer.param_groups]

    def closure() -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    assert [len(group["params"]) for group in optimizer.param_groups] == sizes
    go_on(model, optimizer)
    optimizer.look()


# -------------------------------------------------------------------- what a step is given


@pytest.mark.parametrize("given", [(), (None,), (torch.zeros(()),)])
@pytest.mark.parametrize("name", ["adam", "bayesbinn"])
def test_a_step_without_a_closure_says_what_it_needs(name: str, given: tuple[Any, ...]) -> None:
    _, optimizer = trained(name, 0)
    with pytest.raises(UsageError, match=r"step needs a closure.*rule\.closure\(model"):
        optimizer.step(*given)


@pytest.mark.parametrize(
    ("saved_by", "name"),
    [("bayesbinn", "bimu"), ("mesu", "bgd"), ("sgd", "adam"), ("ewc", "si"), ("adam", "ewc")],
)
def test_the_state_of_another_method_is_refused_and_changes_nothing(
    saved_by: str, name: str
) -> None:
    _, other = trained(saved_by)
    _, optimizer = trained(name, 1)
    before = flat(copy.deepcopy(optimizer.state_dict()))
    with pytest.raises(UsageError, match=f"cannot load the state of {type(other).__name__}"):
        optimizer.load_state_dict(other.state_dict())
    assert flat(optimizer.state_dict()) == before


@pytest.mark.parametrize("name", ["adam", "mesu", "ewc"])
def test_a_setting_that_a_saved_state_lacks_keeps_its_value(name: str) -> None:
    _, saved_by = trained(name)
    model, optimizer = trained(name, 1)
    setting = {"adam": "eps", "mesu": "clamp", "ewc": "consolidation_strength"}[name]
    state, before = saved_by.state_dict(), optimizer.param_groups[0][setting]
    for group in state["param_groups"]:
        del group[setting]
        group["lr"] = 0.125
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0][setting] == before
    assert optimizer.param_groups[0]["lr"] == 0.125
    go_on(model, optimizer)


def test_the_state_of_an_optimizer_of_torch_is_refused() -> None:
    _, optimizer = trained("adam")
    state = optimizer.state_dict()
    del state["class"]
    with pytest.raises(UsageError, match="Adam cannot load the state of another optimizer"):
        optimizer.load_state_dict(state)


class Shaped(toy.ToyRule):
    """Returns logits cut to a shape."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def differentiate(self, model: Model, batch: Any) -> tuple[Tensor, Tensor]:
        loss, logits = super().differentiate(model, batch)
        return loss, logits[: self.rows, : self.columns]


@pytest.mark.parametrize("name", ["adam", "bayesbinn"])
@pytest.mark.parametrize(("rows", "columns"), [(19, 3), (1, 3), (20, 2)])
def test_logits_of_another_batch_or_width_are_refused(name: str, rows: int, columns: int) -> None:
    model, optimizer = trained(name, 1)
    model.classes = 3
    with pytest.raises(RunError, match=rf"shape \({rows}, {columns}\), and must have \(20, 3\)"):
        toy.train(model, Shaped(rows, columns), optimizer, toy.make_task(), steps=1)
