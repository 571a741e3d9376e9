"""Bop against algorithm 1 of Helwegen et al., transcribed to float64 NumPy."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from bop_paper import FORMS, STEPS, Paper, PaperAdam, compare
from torch import Tensor, nn

import bnnlab
from bnnlab import BinaryLinear, Model
from bnnlab_bop.optimizer import Bop
from bnnlab_testing.equations import float64, make_closure, make_model


class OneLayer:
    """A layer of four binary weights that is given its gradients."""

    def __init__(self, weights: list[float], **options: Any) -> None:
        self.model = Model([BinaryLinear(4, 1, scale="none")])
        (self.weight,) = self.model.parameters()
        self.weight.data.copy_(torch.tensor([weights]))
        self.optimizer = Bop(self.model, **options)
        self.group = self.optimizer.param_groups[0]

    def step(self, grad: list[float]) -> list[float]:
        def closure() -> Tensor:
            self.weight.grad = torch.tensor([grad], dtype=self.weight.dtype)
            return torch.zeros(())

        self.optimizer.step(closure)
        return self.weight.tolist()[0]

    def kept(self, name: str) -> list[float]:
        return self.optimizer.state[self.weight][name].tolist()[0]


CASES: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "a short memory": {"gamma": 0.1, "threshold": 1e-3},
    "no memory": {"gamma": 1.0, "threshold": 1e-3},
    "no threshold": {"gamma": 0.01, "threshold": 0.0},
}


STAIRCASE = {"gamma": 0.1, "threshold": 1e-4, "gamma_decay": 0.5, "gamma_decay_steps": 15}


RUNS = [(form, options) for form in FORMS for options in CASES.values()]


@pytest.mark.parametrize(("form", "options"), RUNS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_25_steps_agree_with_the_papers_equations_flip_for_flip(
    form: str, options: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    model = make_model().to(dtype)
    optimizer = Bop(model, form=form, real_lr=0.002, **options)
    gamma, tau = options.get("gamma", 1e-4), options.get("threshold", 1e-8)
    decay, every = options.get("gamma_decay", 1.0), options.get("gamma_decay_steps", 10000)
    binary = model.binary_parameters()
    papers = {
        name: Paper(float64(parameter), gamma, tau, decay, every)
        if name in binary
        else PaperAdam(float64(parameter), 0.002)
        for name, parameter in model.named_parameters()
    }
    compare(model, optimizer, papers, tolerance)


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_both_forms_flip_alike_while_gamma_is_constant(options: dict[str, Any]) -> None:
    """Each on its own gradients, in float64: one flip that differs would part them for good."""
    models = [make_model().double() for _ in FORMS]
    optimizers = [
        Bop(model, form=form, **options) for model, form in zip(models, FORMS, strict=True)
    ]
    start = deepcopy(models[0].binary_parameters())
    for step in range(STEPS):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(make_closure(model, step))
        one, two = (model.binary_parameters() for model in models)
        assert all(torch.equal(one[name], two[name]) for name in one), step
    assert any(not torch.equal(start[name], one[name]) for name in one)


def test_a_weight_flips_where_m_is_large_and_of_its_sign_and_nowhere_else() -> None:
    layer = OneLayer([1, 1, -1, -1], gamma=0.5, threshold=1.0)
    assert layer.step([4, -4, -4, 4]) == [-1, 1, 1, -1]
    assert layer.kept("m") == [2, -2, -2, 2]
    assert layer.step([1.9, -1, 0, 0]) == [-1, 1, 1, -1]


@pytest.mark.parametrize(("form", "kept"), [("average", 0.5), ("accumulator", 1.0)])
def test_at_the_threshold_itself_a_weight_neither_flips_nor_becomes_zero(
    form: str, kept: float
) -> None:
    layer = OneLayer([1, 1, -1, -1], gamma=0.5, threshold=0.5, form=form)
    assert layer.step([1, -1, -1, 1]) == [1, 1, -1, -1]
    assert layer.kept("m" if form == "average" else "a") == [kept, -kept, -kept, kept]
    assert layer.optimizer.diagnostics() == {"flips_per_weight": 0}


def test_the_average_is_not_reset_by_a_flip_so_that_flipping_back_takes_as_much_again() -> None:
    layer = OneLayer([1, -1, -1, -1], gamma=0.125, threshold=1.0, form="accumulator")
    assert layer.step([16, 0, 0, 0]) == [-1, -1, -1, -1]  # theta = 8, a = 16
    assert layer.step([-16, 0, 0, 0]) == [-1, -1, -1, -1]  # a = 14 - 16
    assert layer.step([-6, 0, 0, 0]) == [-1, -1, -1, -1]  # a = -1.75 - 6, not yet beyond -8
    assert layer.step([-6, 0, 0, 0]) == [1, -1, -1, -1]


def test_gamma_goes_down_a_staircase() -> None:
    layer = OneLayer([1, 1, -1, -1], gamma=0.1, gamma_decay=0.1, gamma_decay_steps=3)
    gammas = []
    for _ in range(7):
        gammas.append(layer.group["lr"])
        layer.step([0, 0, 0, 0])
    assert gammas == pytest.approx([0.1] * 3 + [0.01] * 3 + [0.001])
    assert layer.optimizer.param_groups[1]["lr"] == 0.01, "the real parameters' rate stays"


def test_the_accumulators_theta_follows_gamma() -> None:
    options = {"gamma": 0.5, "gamma_decay": 0.5, "gamma_decay_steps": 1, "threshold": 1.0}
    layer = OneLayer([1, 1, 1, 1], form="accumulator", **options)
    assert layer.step([1.5, 2.5, 0, 0]) == [1, -1, 1, 1]  # theta = 2
    assert layer.step([0, 0, 3, 5]) == [1, -1, 1, -1]  # theta = 4


@pytest.mark.parametrize("form", FORMS)
def test_torchs_schedulers_schedule_gamma(form: str) -> None:
    """From step 2 on gamma is a tenth: m is what the equation gives with these two gammas."""
    layer = OneLayer([1, -1, 1, -1], gamma=0.5, threshold=0.2, form=form)
    scheduler = torch.optim.lr_scheduler.StepLR(layer.optimizer, step_size=1, gamma=0.1)
    layer.step([1, 0, 0, 0])
    scheduler.step()
    assert layer.group["lr"] == pytest.approx(0.05)
    layer.step([1, 0, 0, 0])
    expected = 0.95 * 0.5 + 0.05 if form == "average" else 0.95 + 1
    assert layer.kept("m" if form == "average" else "a")[0] == pytest.approx(expected)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_flips_where_a_scheduler_ends_at_zero(form: str) -> None:
    layer = OneLayer([1, 1, -1, -1], form=form)
    layer.group["lr"] = 0.0
    assert layer.step([1, 1, -1, -1]) == [1, 1, -1, -1]


def test_flips_are_counted_since_the_last_call() -> None:
    layer = OneLayer([1, 1, 1, 1], gamma=1.0, threshold=0.5)
    layer.step([1, 1, 1, 0])
    layer.step([-1, 0, 0, 0])
    assert layer.optimizer.diagnostics() == {"flips_per_weight": 1.0}
    assert layer.optimizer.diagnostics() == {"flips_per_weight": 0.0}
    layer.step([0, 0, 0, 1])
    assert layer.optimizer.diagnostics() == {"flips_per_weight": 0.25}


@pytest.mark.parametrize("gamma", [1e-4, [1e-4, 1e-3, 1e-4]], ids=["one", "a list"])
def test_flips_are_counted_over_all_weights_and_in_each_layer(gamma: float | list[float]) -> None:
    model = make_model()
    optimizer = Bop(model, gamma=gamma, threshold=1e-6)
    before = [float64(weight) for weight in model.binary_parameters().values()]
    for group in optimizer.param_groups:
        group["params"].reverse()  # the numbers are the model's, whatever the groups' order
    optimizer.step(make_closure(model, 0))
    after = [float64(weight) for weight in model.binary_parameters().values()]
    changed = [(one != other).ravel() for one, other in zip(before, after, strict=True)]
    expected = {f"flips_per_weight.{n}": each.mean() for n, each in enumerate(changed, start=1)}
    assert len({*expected.values()}) == 3, "the layers must differ, to be told apart"
    expected["flips_per_weight"] = np.concatenate(changed).mean()
    assert optimizer.diagnostics() == expected
    assert set(optimizer.diagnostics().values()) == {0}


def test_a_model_without_binary_weights_has_no_flips_to_report() -> None:
    assert Bop(Model([nn.Linear(4, 2)])).diagnostics() == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_count_survives_the_state_dict_exactly(dtype: torch.dtype) -> None:
    """An odd number above 2^24 is no float32."""
    layer, other = (OneLayer([1, 1, 1, 1]) for _ in range(2))
    layer.model.to(dtype)
    other.model.to(dtype)
    layer.optimizer.state[layer.weight]["flips"] += 2**24 + 1
    other.optimizer.load_state_dict(deepcopy(layer.optimizer.state_dict()))
    assert other.optimizer.state[other.weight]["flips"].dtype == torch.int64
    other.step([0, 0, 0, 0])
    assert other.optimizer.diagnostics() == {"flips_per_weight": (2**24 + 1) / 4}


def test_a_loaded_count_is_not_shared_with_the_optimizer_that_was_saved() -> None:
    layer, other = (OneLayer([1, 1, 1, 1], gamma=1.0) for _ in range(2))
    layer.step([1, 1, 0, 0])
    other.optimizer.load_state_dict(layer.optimizer.state_dict())
    other.step([0, 0, 1, 0])
    assert layer.optimizer.diagnostics() == {"flips_per_weight": 0.5}
    assert other.optimizer.diagnostics() == {"flips_per_weight": 0.75}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("threshold", [0.0, 1e-8])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_gradients_of_zero_flip_nothing(form: str, threshold: float, zero: float) -> None:
    layer = OneLayer([1, 1, -1, -1], form=form, threshold=threshold)
    for _ in range(5):
        assert layer.step([zero] * 4) == [1, 1, -1, -1]
    assert layer.optimizer.diagnostics() == {"flips_per_weight": 0}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1e6, 1e30])
@pytest.mark.parametrize("gamma", [1e-4, 1.0])
def test_huge_gradients_leave_finite_numbers(form: str, size: float, gamma: float) -> None:
    layer = OneLayer([1, 1, -1, -1], form=form, gamma=gamma)
    for sign in (1, -1, 1, 1):
        layer.step([sign * size, -sign * size, sign * size, 0])
    assert np.isfinite(layer.kept("m" if form == "average" else "a")).all()
    assert layer.weight.abs().eq(1).all()


def test_a_gradient_that_is_no_number_leaves_the_weights_signs() -> None:
    layer = OneLayer([1, 1, -1, -1])
    assert layer.step([float("nan")] * 4) == [1, 1, -1, -1]


def test_in_float16_the_accumulator_sees_what_the_average_loses() -> None:
    """gamma g = 2e-8 is 0 there, where the smallest number is 6e-8; theta is 1e-3."""
    flipped = {}
    for form in FORMS:
        layer = OneLayer([1, 1, 1, 1], form=form, gamma=1e-5, threshold=1e-8)
        layer.model.half()
        flipped[form] = layer.step([2e-3] * 4)
        layer.optimizer.step(lambda: torch.zeros(()))  # the state has followed to float16
        assert layer.optimizer.state[layer.weight]["m" if form == "average" else "a"].dtype == (
            torch.float16
        )
    assert flipped == {"average": [1, 1, 1, 1], "accumulator": [-1, -1, -1, -1]}


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    model = make_model()
    optimizer = Bop(model)
    *_, last = model.binary_parameters().values()
    closure = make_closure(model, 0)

    def without_last() -> Tensor:
        loss = closure()
        last.grad = None
        return loss

    before = last.detach().clone()
    optimizer.step(without_last)
    assert torch.equal(last, before)
    assert not optimizer.state[last]["m"].any()
    assert optimizer.diagnostics()["flips_per_weight"] > 0


@pytest.mark.rounding
@pytest.mark.slow
def test_the_accumulator_learns_permuted_digits() -> None:
    """Five seeds gave from 0.91 to 0.96."""
    result = bnnlab.run(
        rule="dfa",
        optimizer="bop",
        stream="permuted-digits",
        epochs=5,
        batch_size=50,
        device="cpu",
        set={"stream.tasks": 2, "model.hidden": [128], "optimizer.form": "accumulator"},
    )
    newest = result.accuracy[-1][-1]
    assert newest is not None
    assert newest > 0.5, "chance is 0.1"
