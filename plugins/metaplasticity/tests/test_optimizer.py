"""Metaplastic Adam against the equations of Laborieux et al., transcribed to float64 NumPy."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnnlab import BinaryLinear, Model, UsageError
from bnnlab_metaplasticity.optimizer import MetaplasticAdam
from bnnlab_testing import toy
from bnnlab_testing.equations import apart, float64, make_closure, make_model

STEPS = 20


def make_optimizer(model: Model, **options: Any) -> MetaplasticAdam:
    return MetaplasticAdam(model, generator=torch.Generator().manual_seed(2), **options)


class Paper:
    """`Adam_meta` for one array: see the equations in the paper's methods and its code."""

    def __init__(self, W: np.ndarray, lr: float, m: float, wd: float) -> None:
        self.W, self.lr, self.m, self.wd = W, lr, m, wd
        self.m1, self.v, self.t = np.zeros_like(W), np.zeros_like(W), 0

    def step(self, g: np.ndarray) -> None:
        self.t += 1
        g = g + self.wd * self.W
        self.m1 = 0.9 * self.m1 + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        s = self.lr * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        U = self.m1 / (np.sqrt(self.v) + 1e-8)
        shrinks = np.sign(self.W) * self.m1 > 0
        f_meta = 1 - np.tanh(self.m * self.W) ** 2
        self.W = np.where(shrinks, self.W - s * U * f_meta, self.W - s * U)


def train_both(
    model: Model, optimizer: MetaplasticAdam, papers: dict[str, Paper], steps: int = STEPS
) -> None:
    """Give the optimizer and the transcription the same gradients."""
    names = dict(model.named_parameters())
    for step in range(steps):
        optimizer.step(make_closure(model, step))
        for name, parameter in names.items():
            assert parameter.grad is not None
            papers[name].step(float64(parameter.grad))
        for name, parameter in model.binary_parameters().items():
            assert parameter.abs().eq(1).all(), f"{name} is not binary after step {step}"


def transcribe(
    model: Model, optimizer: MetaplasticAdam, lr: float, m: Sequence[float], wd: float, real: float
) -> dict[str, Paper]:
    binary = model.binary_parameters()
    papers = {
        name: Paper(float64(optimizer.state[parameter]["latent"]), lr, coefficient, wd)
        for (name, parameter), coefficient in zip(binary.items(), m, strict=True)
    }
    for name, parameter in model.named_parameters():
        if name not in binary:
            papers[name] = Paper(float64(parameter), real, 0.0, wd)
    return papers


def assert_agreement(
    model: Model, optimizer: MetaplasticAdam, papers: dict[str, Paper], tolerance: float
) -> None:
    binary = model.binary_parameters()
    for name, parameter in model.named_parameters():
        wanted = papers[name].W
        found = float64(optimizer.state[parameter]["latent"] if name in binary else parameter)
        scale = np.abs(wanted).max()
        assert apart(found, wanted) < tolerance, name
        if name in binary:
            sure = np.abs(wanted) > 1e-6 * scale
            assert np.array_equal(float64(parameter)[sure], np.sign(wanted)[sure]), name


COEFFICIENTS = {
    "a scalar": (1.35, (1.35, 1.35, 1.35)),
    "one per layer": ([40.0, 10.0, 2.5], (40.0, 10.0, 2.5)),
    "none": (0, (0.0, 0.0, 0.0)),
    "a large one": (60.0, (60.0, 60.0, 60.0)),
}


@pytest.mark.parametrize("weight_decay", [0.0, 1e-3])
@pytest.mark.parametrize("case", COEFFICIENTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_20_steps_agree_with_the_papers_equations(
    case: str, weight_decay: float, dtype: torch.dtype, tolerance: float
) -> None:
    m, each = COEFFICIENTS[case]
    model = make_model().to(dtype)
    optimizer = make_optimizer(model, lr=0.005, m=m, weight_decay=weight_decay, real_lr=0.002)
    papers = transcribe(model, optimizer, 0.005, each, weight_decay, 0.002)
    train_both(model, optimizer, papers)
    assert_agreement(model, optimizer, papers, tolerance)


def test_both_branches_are_taken_and_damping_only_slows_shrinking() -> None:
    """One step from known latents: s = lr sqrt(.001)/.1, U = .1 g / (sqrt(.001) |g|) = sign(g)."""
    model = Model([BinaryLinear(4, 1, scale="none")])
    optimizer = make_optimizer(model, lr=0.01, m=3.0)
    (weight,) = model.parameters()
    latent = optimizer.state[weight]["latent"]
    latent.copy_(torch.tensor([[0.5, 0.5, -0.5, -0.5]]))

    def closure() -> Tensor:
        weight.grad = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
        return torch.zeros(())

    optimizer.step(closure)
    damped = 0.01 * (1 - np.tanh(1.5) ** 2)
    expected = [[0.5 - damped, 0.51, -0.51, -0.5 + damped]]
    np.testing.assert_allclose(latent, expected, rtol=1e-6)
    assert weight.tolist() == [[1, 1, -1, -1]]


def test_real_parameters_use_lr_where_no_real_lr_is_given() -> None:
    model = make_model()
    optimizer = make_optimizer(model, lr=0.01, m=2.0)
    papers = transcribe(model, optimizer, 0.01, (2.0,) * 3, 0.0, 0.01)
    train_both(model, optimizer, papers)
    assert_agreement(model, optimizer, papers, 1e-5)


def test_real_weights_are_metaplastic_where_there_are_no_binary_ones() -> None:
    layers = nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LayerNorm(144), nn.Linear(144, 10)
    model = Model([nn.Sequential(*layers)]).double()
    with torch.no_grad():
        model.get_parameter("segments.0.3.weight").mul_(20)  # so that damping is felt
    optimizer = make_optimizer(model, lr=0.005, m=[3.0, 7.0], weights="real", weight_decay=1e-3)
    coefficients = {"segments.0.0.weight": 3.0, "segments.0.3.weight": 7.0}
    papers = {
        name: Paper(float64(parameter), 0.005, coefficients.get(name, 0.0), 1e-3)
        for name, parameter in model.named_parameters()
    }
    train_both(model, optimizer, papers)
    assert_agreement(model, optimizer, papers, 1e-10)


def test_binary_weights_are_not_taken_for_real_ones() -> None:
    with pytest.raises(UsageError, match="the model has binary weights"):
        make_optimizer(make_model(), weights="real")


def test_m_0_is_adam_with_eps_before_the_bias_correction() -> None:
    """Old-style Adam equals torch's with eps divided by the root of the correction, per step."""
    model = make_model().double()
    optimizer = make_optimizer(model, lr=0.01, m=0.0)
    weights = list(model.binary_parameters().values())
    shadows = [optimizer.state[w]["latent"].clone().requires_grad_() for w in weights]
    adam = torch.optim.Adam(shadows, lr=0.01)
    for step in range(1, STEPS + 1):
        optimizer.step(make_closure(model, step))
        for shadow, weight in zip(shadows, weights, strict=True):
            shadow.grad = weight.grad
        adam.param_groups[0]["eps"] = 1e-8 / np.sqrt(1 - 0.999**step)
        adam.step()
    for shadow, weight in zip(shadows, weights, strict=True):
        torch.testing.assert_close(optimizer.state[weight]["latent"], shadow.detach())


def test_a_fresh_latent_weight_has_its_weights_sign_and_a_size_below_latent_init() -> None:
    model = make_model()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = make_optimizer(model, latent_init=0.3)
    for weight in model.binary_parameters().values():
        latent = optimizer.state[weight]["latent"]
        assert torch.equal(latent.sign(), weight)
        assert 0.25 < latent.abs().max() < 0.3
    assert all(map(torch.equal, before, (p.detach() for p in model.parameters())))


def coefficients(model: Model, optimizer: MetaplasticAdam) -> list[float]:
    return [optimizer.state[weight]["m"] for weight in model.binary_parameters().values()]


def test_auto_is_one_over_lr_and_the_root_of_the_tasks_steps() -> None:
    model = make_model()
    optimizer = make_optimizer(model, lr=0.01, m="auto")
    for steps, m in ((400, 5.0), (100, 10.0)):  # 1 / (0.01 * 20), 1 / (0.01 * 10)
        optimizer.task_started(toy.context(toy.make_task(), model, toy.ToyRule(), steps))
        assert coefficients(model, optimizer) == pytest.approx([m] * 3)


def test_auto_is_of_the_rates_that_a_schedule_leaves() -> None:
    model = make_model()
    optimizer = make_optimizer(model, lr=0.01, m="auto")
    told = toy.context(toy.make_task(), model, toy.ToyRule(), 400)
    optimizer.task_started(replace(told, rate_factor=0.5))
    assert coefficients(model, optimizer) == pytest.approx([10.0] * 3)


def test_auto_trains_as_the_number_it_stands_for() -> None:
    latents = []
    for m in ("auto", 10.0):
        model = make_model()
        optimizer = make_optimizer(model, lr=0.01, m=m)
        optimizer.task_started(toy.context(toy.make_task(), model, toy.ToyRule(), 100))
        for step in range(3):
            optimizer.step(make_closure(model, step))
        latents.append([state["latent"] for state in optimizer.state.values() if "latent" in state])
    assert all(map(torch.equal, *latents))


def test_a_number_is_left_alone_when_a_task_starts() -> None:
    model = make_model()
    optimizer = make_optimizer(model, m=1.35)
    optimizer.task_started(toy.context(toy.make_task(), model, toy.ToyRule(), 100))
    assert coefficients(model, optimizer) == [1.35] * 3


def test_auto_without_a_started_task_is_refused_and_says_what_to_do() -> None:
    model = make_model()
    optimizer = make_optimizer(model, m="auto")
    with pytest.raises(UsageError, match=r"give m a number, or call\s+optimizer\.task_started"):
        optimizer.step(make_closure(model, 0))


@pytest.mark.parametrize("m", [[1.0], [1.0, 2.0, 3.0, 4.0], []])
def test_a_list_that_does_not_fit_the_layers_is_refused_with_both_numbers(m: list[float]) -> None:
    with pytest.raises(UsageError, match=rf"optimizer\.m: {len(m)} values, .* 3 binary weights"):
        make_optimizer(make_model(), m=m)


def test_training_goes_on_bit_for_bit_from_a_state_dict() -> None:
    model = make_model()
    optimizer = make_optimizer(model, m="auto")
    optimizer.task_started(toy.context(toy.make_task(), model, toy.ToyRule(), 50))
    for step in range(3):
        optimizer.step(make_closure(model, step))
    saved, weights = deepcopy(optimizer.state_dict()), deepcopy(model.state_dict())

    again = make_model()
    again.load_state_dict(weights)
    resumed = make_optimizer(again, m="auto")
    resumed.load_state_dict(saved)
    for step in range(3, 6):
        optimizer.step(make_closure(model, step))
        resumed.step(make_closure(again, step))
    ours, theirs = model.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for a, b in zip(optimizer.state.values(), resumed.state.values(), strict=True):
        assert all(
            a[name] == b[name] if name == "m" else torch.equal(a[name], b[name]) for name in a
        )
