"""BiMU against the equations of the paper, transcribed to float64 NumPy."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlab import BinaryLinear, Model, UsageError
from bnnlab.engine import building
from bnnlab.families.noise import uniform_
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import choose
from bnnlab_bimu import optimizer as home
from bnnlab_bimu.optimizer import BiMU
from bnnlab_testing.equations import (
    Adam,
    apart,
    constant,
    float64,
    make_closure,
    make_model,
    take_networks_for_large,
)

STEPS = 25
BATCH = 16


class Recording(BiMU):
    """Keeps the uniform noise of each step, drawn a second time, and the gradients."""

    def draws(self, group: Any, parameter: Tensor, count: int) -> tuple[Tensor, Tensor]:
        again = torch.Generator()
        again.set_state(self.generator(parameter.device).get_state())
        drawn = super().draws(group, parameter, count)
        u = uniform_(torch.empty(drawn[0].shape, dtype=torch.float64), again)
        self.noise.setdefault(parameter, []).append(float64(u))
        self.owners[drawn[1].data_ptr()] = parameter
        return drawn

    def terms(self, noise: Tensor, grads: Tensor) -> tuple[Tensor, ...]:
        self.grads.setdefault(self.owners[noise.data_ptr()], []).append(float64(grads))
        return super().terms(noise, grads)

    def step(self, closure: Any) -> Tensor:
        self.owners: dict[int, Tensor] = {}
        self.noise: dict[Tensor, list[np.ndarray]] = {}
        self.grads: dict[Tensor, list[np.ndarray]] = {}
        return super().step(closure)

    def seen(self, parameter: Tensor) -> tuple[np.ndarray, np.ndarray]:
        return np.concatenate(self.noise[parameter]), np.concatenate(self.grads[parameter])


def make_optimizer(model: Model, kind: type[BiMU] = BiMU, **options: Any) -> Any:
    given = {"batch_size": BATCH, **options}
    return kind(model, generator=torch.Generator().manual_seed(2), **given)


def one_weight(values: Tensor, **options: Any) -> tuple[Model, BiMU, Tensor, Tensor]:
    """Return a model of one row of weights, its optimizer, the weights and lambda set to values."""
    model = Model([BinaryLinear(values.numel(), 1, scale="none")]).to(values.dtype)
    optimizer = make_optimizer(model, **{"batch_size": 1, **options})
    (weight,) = model.parameters()
    value = optimizer.state[weight]["lambda"]
    value.copy_(values.view(1, -1))
    return model, optimizer, weight, value


class Paper:
    """The update of one parameter, in the paper's symbols."""

    def __init__(self, value: np.ndarray, options: dict[str, Any]) -> None:
        self.value, self.options = value, options

    def derivative(self, u: np.ndarray) -> np.ndarray:
        if self.options["draws"] == "hard":
            return np.ones_like(u)
        tau = self.options["temperature"]
        u = np.clip(u, 1e-7, 1 - 1e-7)
        w = np.tanh((self.value + np.log(u / (1 - u)) / 2) / tau)
        return (1 - w**2) / tau

    def step(self, u: np.ndarray, grads: np.ndarray) -> None:
        o, value = self.options, self.value
        g = BATCH * (self.derivative(u) * grads).mean(0)
        q = o["likelihood_weight"] * g
        h = o["kl_weight"] / np.cosh(value) ** 2
        eta = 1 / (h + 2 * q * np.tanh(value) + 2 * np.abs(q) + 1 / o["lr_max"])
        assert (eta > 0).all()
        self.value = value - eta * (o["lr"] * q + value * h / (o["memory"] or np.inf))


DEFAULTS = {"lr": 1.0, "lr_max": 5.0, "likelihood_weight": 1.0, "kl_weight": 0.1,
            "memory": 1000.0, "draws": "relaxed", "temperature": 1.0}  # fmt: skip
ONLINE = {"lr": 4.9, "lr_max": 0.0023, "likelihood_weight": 161.3, "kl_weight": 3.76,
          "memory": 700.0}  # fmt: skip
CASES = {
    "the defaults": {},
    "without forgetting": {"memory": None},
    "much forgetting": {"memory": 5.0, "kl_weight": 1.0},
    "the published online settings": ONLINE,
    "cold": {"temperature": 0.5, "lr": 0.3},
    "warm": {"temperature": 2.0, "memory": 50.0},
    "hard": {"draws": "hard"},
    "hard, without forgetting": {"draws": "hard", "memory": None},
    "hard, with the published online settings": {"draws": "hard", **ONLINE},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("draws", "dtype", "tolerance", "large"),
    [
        (1, torch.float32, 1e-5, False),
        (3, torch.float64, 1e-9, False),
        (2, torch.float32, 1e-5, True),
    ],
)
def test_25_steps_agree_with_the_papers_equations(
    case: str,
    draws: int,
    dtype: torch.dtype,
    tolerance: float,
    large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:
        take_networks_for_large(monkeypatch)
    options = {**DEFAULTS, **CASES[case]}
    model = make_model().to(dtype)
    optimizer = make_optimizer(model, Recording, train_draws=draws, real_lr=0.002, **options)
    binary = model.binary_parameters()
    start = {p: float64(optimizer.state[p]["lambda"]) for p in binary.values()}
    papers = {p: Paper(start[p], options) for p in binary.values()}
    adams = {p: Adam(float64(p), 0.002) for n, p in model.named_parameters() if n not in binary}
    for step in range(STEPS):
        optimizer.step(make_closure(model, step))
        for parameter, paper in papers.items():
            paper.step(*optimizer.seen(parameter))
        for parameter, adam in adams.items():
            assert parameter.grad is not None
            adam.step(float64(parameter.grad))
    for name, parameter in binary.items():
        wanted, found = papers[parameter].value, float64(optimizer.state[parameter]["lambda"])
        scale = np.abs(wanted).max()
        assert np.abs(wanted - start[parameter]).max() > 0.01 * scale, f"{name} hardly moved"
        assert apart(found, wanted) < tolerance, name
        sure = np.abs(wanted) > tolerance * scale
        assert np.array_equal(float64(parameter)[sure], np.sign(wanted)[sure]), name
        assert parameter.abs().eq(1).all(), name
    for parameter, adam in adams.items():
        found = float64(parameter)
        assert apart(found, adam.value) < max(tolerance, 1e-5)


def test_bhu_agrees_with_its_own_equations() -> None:
    """eta = 1 / (m [rho / cosh^2 + 2 g tanh + 2|g|] + 1 / lr_max), lambda <- lambda - eta g."""
    m, rho, lr_max = 0.7, 0.3, 5.0
    host = PluginHost()
    settings = {"likelihood_weight": m, "lr": 1 / m, "kl_weight": m * rho, "lr_max": lr_max,
                "draws": "hard", "train_draws": 1, "batch_size": 1}  # fmt: skip
    choice = choose(host, Kind.OPTIMIZER, "bhu", settings)
    model = Model([BinaryLinear(200, 1, scale="none")]).double()
    optimizer = building.make_optimizer(host, choice, model, seed=0)
    (weight,) = model.parameters()
    value = float64(optimizer.state[weight]["lambda"])
    draws = torch.Generator().manual_seed(3)
    for _ in range(STEPS):
        grads = torch.randn(1, 200, generator=draws, dtype=torch.float64)
        optimizer.step(constant(model, grads))
        g = grads.numpy()
        bottom = m * (rho / np.cosh(value) ** 2 + 2 * g * np.tanh(value) + 2 * np.abs(g))
        value = value - g / (bottom + 1 / lr_max)
    np.testing.assert_allclose(float64(optimizer.state[weight]["lambda"]), value, rtol=1e-9)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_the_derivative_of_relaxed_draws_is_autograds(temperature: float) -> None:
    """g is the gradient of the summed loss, averaged over the draws, with respect to lambda."""
    options = {**DEFAULTS, "temperature": temperature}
    draws = torch.Generator().manual_seed(5)
    x = torch.randn(BATCH, 12, generator=draws, dtype=torch.float64)
    y = torch.randint(0, 3, (BATCH,), generator=draws)
    model = Model([BinaryLinear(12, 3, scale="none", generator=draws)]).double()
    optimizer = make_optimizer(model, Recording, train_draws=4, **options)
    (weight,) = model.parameters()
    before = optimizer.state[weight]["lambda"].clone().requires_grad_()

    def closure() -> Tensor:
        weight.grad = None
        with torch.enable_grad():
            loss = F.cross_entropy(model(x), y)
            loss.backward()
        return loss.detach()

    optimizer.step(closure)
    u = torch.from_numpy(optimizer.seen(weight)[0])
    w = torch.tanh((before + torch.logit(u) / 2) / temperature)
    loss = torch.stack([F.cross_entropy(x @ each.T, y, reduction="sum") for each in w]).mean()
    (g,) = torch.autograd.grad(loss, before)
    paper = Paper(float64(before), {**options, "draws": "hard"})  # the derivative is in g
    paper.step(u.numpy(), float64(g)[None] / BATCH)
    np.testing.assert_allclose(float64(optimizer.state[weight]["lambda"]), paper.value, rtol=1e-9)


# ---------------------------------------------------------------------------- forgetting


def test_without_gradients_lambda_decays_to_0_and_keeps_its_sign() -> None:
    start = torch.tensor([3.0, -3.0, 0.5, -0.5, 0.0])
    model, optimizer, weight, value = one_weight(start, memory=5.0)
    sizes = [value.abs().clone()]
    for _ in range(2000):
        optimizer.step(constant(model, 0.0))
        sizes.append(value.abs().clone())
        assert torch.equal(value.sign(), start.sign().view(1, -1))
    decreasing = all(bool((b <= a).all()) for a, b in pairwise(sizes))
    assert decreasing
    assert sizes[-1].max() < 1e-3
    assert weight.tolist() == [[1, -1, 1, -1, 1]]


def test_without_gradients_and_forgetting_lambda_stays() -> None:
    start = torch.tensor([3.0, -3.0, 0.5, -0.5, 0.0])
    model, optimizer, _, value = one_weight(start, memory=None)
    for _ in range(100):
        optimizer.step(constant(model, 0.0))
    assert torch.equal(value, start.view(1, -1))


@pytest.mark.parametrize("lr_max", [0.01, 1e6])
def test_the_pull_never_overshoots_0_from_the_smallest_memory_on(lr_max: float) -> None:
    start = torch.tensor([1e-3, 0.5, 3.0])
    model, optimizer, _, value = one_weight(start, memory=1.0, lr_max=lr_max, kl_weight=10.0)
    for _ in range(20):
        optimizer.step(constant(model, 0.0))
        assert (value >= 0).all()


# ---------------------------------------------------------------------------- the step's size

SIZES = 10.0 ** np.arange(-3, 31, 3)


def steps_of(value: float, grads: np.ndarray, **options: Any) -> np.ndarray:
    """Return by how much one step from lambda = value lowers it, for each gradient."""
    given = {"draws": "hard", "memory": None, **options}
    start = torch.full((len(grads),), value, dtype=torch.float64)
    model, optimizer, _, after = one_weight(start, **given)
    optimizer.step(constant(model, torch.from_numpy(grads).view(1, -1)))
    return value - float64(after)[0]


@pytest.mark.parametrize("value", [-20.0, -1.0, -0.1, 0.0, 0.1, 1.0, 20.0])
@pytest.mark.parametrize("kl_weight", [0.0, 0.1, 10.0])
def test_the_rate_is_above_0_and_at_most_lr_max(value: float, kl_weight: float) -> None:
    grads = np.concatenate([SIZES, -SIZES])
    eta = steps_of(value, grads, lr=2.0, lr_max=0.5, kl_weight=kl_weight) / (2.0 * grads)
    assert (eta > 0).all()
    assert (eta <= 0.5 * (1 + 1e-9)).all()


@pytest.mark.parametrize("lr", [0.1, 1.0, 60.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_weakening_is_bounded_however_large_the_gradient(lr: float, sign: int) -> None:
    for value, bound in ((15.0, lr / 4), (1.0, lr / 2), (1e-3, lr / 2)):
        steps = sign * steps_of(sign * value, sign * SIZES, lr=lr)
        assert (steps > 0).all()
        assert (steps <= bound * (1 + 1e-9)).all()
        assert steps[-1] > 0.49 * bound


@pytest.mark.parametrize("sign", [1, -1])
def test_a_certain_weight_is_strengthened_at_nearly_lr_max(sign: int) -> None:
    grads = -sign * np.array([1e-3, 0.1, 1.0])
    steps = steps_of(sign * 15.0, grads, lr=2.0, lr_max=0.5, kl_weight=0.1)
    np.testing.assert_allclose(steps, 0.5 * 2.0 * grads, rtol=1e-6)


def test_a_certain_weight_is_weakened_more_slowly_than_an_uncertain_one() -> None:
    one = np.array([1.0])
    certain, uncertain = (steps_of(value, one)[0] for value in (10.0, 0.01))
    assert 0 < certain < 0.6 * uncertain


def test_a_common_factor_on_kappa_rho_and_1_over_lr_max_changes_nothing() -> None:
    def run(factor: float) -> np.ndarray:
        model = make_model().double()
        optimizer = make_optimizer(model, memory=20.0, lr=2.0, lr_max=3.0 / factor,
                                   likelihood_weight=factor, kl_weight=0.5 * factor)  # fmt: skip
        for step in range(5):
            optimizer.step(make_closure(model, step))
        weights = model.binary_parameters().values()
        return np.concatenate([float64(optimizer.state[w]["lambda"]).ravel() for w in weights])

    np.testing.assert_allclose(run(1.0), run(50.0), rtol=1e-9)


# ---------------------------------------------------------------------------- draws


@pytest.mark.parametrize("draws", ["relaxed", "hard"])
def test_draws_follow_the_posterior(draws: Any) -> None:
    _, optimizer, weight, value = one_weight(torch.tensor([-1.0, -0.2, 0.0, 0.5, 2.0]),
                                             draws=draws, train_draws=20000)  # fmt: skip
    drawn, _ = optimizer.sample(optimizer.param_groups[0], weight)
    share = (drawn > 0).float().mean(0)
    torch.testing.assert_close(share, torch.sigmoid(2 * value), atol=0.02, rtol=0)
    assert bool((drawn.abs() == 1).all()) == (draws == "hard")


def test_cold_relaxed_draws_are_all_but_signs() -> None:
    _, optimizer, weight, _ = one_weight(torch.randn(100), temperature=1e-6)
    drawn, _ = optimizer.sample(optimizer.param_groups[0], weight)
    assert drawn.abs().min() > 0.999


@pytest.mark.parametrize("u", [2.0**-17, 1 - 2.0**-17])
@pytest.mark.parametrize("draws", ["relaxed", "hard"])
@pytest.mark.parametrize("temperature", [1e-6, 1.0])
def test_noise_at_its_ends_is_harmless(
    u: float, draws: Any, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    optimizer = make_optimizer(model, draws=draws, temperature=temperature)
    monkeypatch.setattr(home, "uniform_", lambda out, _: out.fill_(u))
    monkeypatch.setattr(home, "logistic_", lambda out, _: out.fill_(np.log(u / (1 - u))))
    for parameter in model.binary_parameters().values():
        drawn, _ = optimizer.sample(optimizer.param_groups[0], parameter)
        assert len(drawn.sign().unique()) == 1
        assert drawn.abs().le(1).all()
        assert drawn.abs().gt(0.99).all()
    for step in range(3):
        optimizer.step(make_closure(model, step))
    assert_sound(model, optimizer)


# ---------------------------------------------------------------------------- degenerate input


def assert_sound(model: Model, optimizer: BiMU) -> None:
    for parameter in model.parameters():
        assert parameter.isfinite().all()
    for parameter in model.binary_parameters().values():
        assert parameter.abs().eq(1).all()
        assert optimizer.state[parameter]["lambda"].isfinite().all()


@pytest.mark.parametrize("size", [1e6, -1e6, 1e30, -1e30])
@pytest.mark.parametrize("case", CASES)
def test_huge_gradients_leave_finite_numbers(case: str, size: float) -> None:
    model = Model([BinaryLinear(9, 4, scale="none")])
    optimizer = make_optimizer(model, **CASES[case])
    for _ in range(5):
        optimizer.step(constant(model, size))
    assert_sound(model, optimizer)


@pytest.mark.parametrize("draws", ["relaxed", "hard"])
@pytest.mark.parametrize(("batch", "classes"), [(1, 10), (1, 1), (16, 1)])
def test_one_example_and_one_class_are_fine(draws: Any, batch: int, classes: int) -> None:
    model = make_model(classes)
    optimizer = make_optimizer(model, draws=draws, batch_size=batch)
    for step in range(5):
        optimizer.step(make_closure(model, step, batch_size=batch, classes=classes))
    assert_sound(model, optimizer)


def test_extreme_lambdas_are_fine() -> None:
    start = torch.tensor([-1e30, -100.0, -1e-30, -0.0, 0.0, 1e-30, 100.0, 1e30])
    for draws in ("relaxed", "hard"):
        for grad in (-1.0, 0.0, 1.0):
            model, optimizer, _, _ = one_weight(start, draws=draws)
            optimizer.step(constant(model, grad))
            assert_sound(model, optimizer)


# ---------------------------------------------------------------------------- the interface


def test_without_a_batch_size_it_is_refused_and_says_what_to_do() -> None:
    model = make_model()
    optimizer = make_optimizer(model, batch_size=None)
    with pytest.raises(UsageError, match="must know batch_size: give the option batch_size"):
        optimizer.step(make_closure(model, 0))


@pytest.mark.parametrize("name", ["lr", "lr_max", "likelihood_weight", "kl_weight", "memory",
                                  "temperature"])  # fmt: skip
def test_a_step_reads_its_settings_from_the_group(name: str) -> None:
    def run(**group: float) -> Tensor:
        model = make_model()
        optimizer = make_optimizer(model, memory=10.0)
        optimizer.param_groups[0].update(group)
        optimizer.step(make_closure(model, 0))
        return torch.cat([state["lambda"].flatten() for state in optimizer.state.values()
                          if "lambda" in state])  # fmt: skip

    default = make_optimizer(make_model(), memory=10.0).param_groups[0][name]
    assert torch.equal(run(), run(**{name: default}))
    assert not torch.equal(run(), run(**{name: 2 * default}))


def test_saturation_is_reported_and_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    _, optimizer, _, value = one_weight(torch.tensor([0.0, 1.0, 10.0, -10.0]))
    assert optimizer.diagnostics() == {"saturated": 0.5}
    assert not caplog.records
    value.fill_(10.0)
    for _ in range(2):
        assert optimizer.diagnostics() == {"saturated": 1.0}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
