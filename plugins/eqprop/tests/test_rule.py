"""Relaxation, nudge and gradient against NumPy, against autograd and against finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from eqprop_nets import (
    LONG,
    NETS,
    Dynamics,
    alpha,
    attached,
    batch_for,
    binary_model,
    bptt,
    convolutional,
    dense,
    eqprop,
    gradient,
    randn,
    redrawn,
    relative_error,
)
from torch import Tensor, nn

from bnnlab import BinaryLinear, Model
from bnnlab_eqprop.bptt import BackpropagationThroughTime
from bnnlab_eqprop.rule import EquilibriumPropagation
from bnnlab_eqprop.units import BinaryUnit, HardSigmoid
from bnnlab_testing.equations import Array, apart, float64

CASES: dict[str, tuple[dict[str, Any], float | None, int, str]] = {
    "the defaults": ({}, None, 1, "fan-in"),
    "one-sided": ({"nudging": "one-sided"}, None, 1, "learned"),
    "-beta": ({"nudging": "one-sided", "beta": -0.3}, None, 1, "fan-in"),
    "on the drive": ({"nudge": "drive", "order": "synchronous"}, None, 2, "learned"),
    "on the state, far": ({"nudging": "one-sided", "beta": 1.5}, None, 1, "fan-in"),
    "clamped": ({"nudge": "clamped", "beta": 0.8}, None, 1, "fan-in"),
    "fixed errors": ({"error": "free", "nudging": "one-sided", "beta": 0.8}, None, 2, "learned"),
    "fixed errors, on the drive": ({"error": "free", "nudge": "drive"}, None, 1, "fan-in"),
    "effective gradients": ({"gradient": "effective"}, None, 2, "learned"),
    "effective, fixed alpha": ({"gradient": "effective", "initial": 0.5}, None, 1, "fan-in"),
    "binary units": ({"beta": 4.0, "nudge": "drive"}, 0.5, 4, "learned"),
    "slow binary units": (
        {"beta": 2.0, "nudge": "drive", "nudging": "one-sided", "initial": 0.5}, 0.2, 3, "fan-in",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_loss_logits_and_gradients_agree_with_numpy(name: str) -> None:
    options, gamma, copies, scale = CASES[name]
    model = binary_model(HardSigmoid if gamma is None else lambda: BinaryUnit(gamma), copies, scale)
    T, K, N = 12, 5, 10
    rule = eqprop(model, free_steps=T, nudge_steps=K, **options)
    x, targets = randn(N, 6, seed=3), torch.arange(N) % 3
    closure = rule.closure(model, (x, targets))
    loss = closure()

    net = Dynamics(model, rule.order, gamma)
    free = net.start(float64(x), rule.initial)
    for _ in range(T):
        free = net.step(free)
    o = np.mean(np.split(free[-1], copies, axis=1), axis=0)  # unit j is of class j modulo 3
    y = np.eye(3)[targets]
    assert loss.item() == pytest.approx(float(((o - y) ** 2).sum() / (2 * N)), rel=1e-12)
    assert closure.logits is not None
    np.testing.assert_allclose(float64(closure.logits), o, rtol=1e-12)

    Y = np.tile(y, copies)

    def nudged(beta: float) -> list[tuple[Array, Array]]:
        def force(s: Array) -> Any:
            return beta * (Y - (s if rule.error == "live" else free[-1]))

        s = free
        for _ in range(K):
            if rule.nudge == "drive":
                s = net.step(s, inside=force)
            else:
                s = net.step(s, outside=force, clamped=rule.nudge == "clamped")
        return net.dPhi(s)

    beta, centred = rule.beta, rule.nudging == "centred"
    ends = nudged(beta), nudged(-beta) if centred else net.dPhi(free)
    distance = (2 if centred else 1) * beta * N
    layers = [m for m in model.modules() if isinstance(m, BinaryLinear)]
    for layer, (W1, b1), (W0, b0) in zip(layers, *ends, strict=True):
        dW, w, a = -(W1 - W0) / distance, float64(layer.weight), float64(alpha(layer))
        assert np.abs(dW).max() > 0
        effective = rule.gradient == "effective"
        wanted = {"weight": dW if effective else a * dW, "bias": -(b1 - b0) / distance}
        if layer.scale is not None:
            da = (dW * w).sum(1) if len(layer.scale) > 1 else (dW * w).sum(keepdims=True)[0]
            wanted["scale"] = float64(layer.scale) * da if effective else da
        for key, each in wanted.items():
            grad = getattr(layer, key).grad
            np.testing.assert_allclose(float64(grad), each, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("order", ["synchronous", "even-odd"])
def test_a_model_infers_by_relaxing_and_gradients_flow_through_it(order: Any) -> None:
    model = binary_model(HardSigmoid, 2, "learned")
    x = randn(5, 6)
    composed = model(x)
    bptt(model, order=order, free_steps=7, nudge_steps=3)
    net = Dynamics(model, order)
    s = net.start(float64(x))
    for _ in range(7):
        s = net.step(s)
    wanted = (s[-1][:, :3] + s[-1][:, 3:]) / 2
    logits = model(x)
    np.testing.assert_allclose(float64(logits), wanted, rtol=1e-12)
    assert not torch.allclose(logits, composed)
    with torch.no_grad():
        assert torch.equal(model(x), logits)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


# ------------------------------------------------------------- any network, by autograd


def phi(model: Model, x: Tensor, s: list[Tensor]) -> Tensor:
    """Phi = sum_l s_l . a_l, of segments that end with their units."""
    total, below = torch.zeros(()), x
    for segment, state in zip(model.segments, s, strict=True):
        assert isinstance(segment, nn.Sequential)
        total = total + (segment[:-1](below) * state).sum()
        below = state
    return total


@pytest.mark.parametrize("nudging", ["one-sided", "centred"])
@pytest.mark.parametrize("order", ["synchronous", "even-odd"])
@pytest.mark.parametrize("net", NETS)
def test_states_follow_phi_and_its_difference_teaches_also_before_they_rest(
    net: str, order: Any, nudging: Any
) -> None:
    model, beta = NETS[net](size=2), 0.7
    x, targets = batch_for(model, 6)
    y, N, L = F.one_hot(targets, 3), 6, 3
    options = {"order": order, "nudging": nudging, "beta": beta, "initial": 0.4, "nudge": "drive"}
    rule = eqprop(model, free_steps=1, nudge_steps=3, **options)
    found = gradient(rule, model, (x, targets))
    assert rule.diagnostics()["residual"] > 1e-3

    def step(s: list[Tensor], beta: float = 0.0) -> list[Tensor]:
        numbers = range(L)
        for group in [numbers] if order == "synchronous" else [numbers[::2], numbers[1::2]]:
            s = [each.detach().requires_grad_() for each in s]
            p = list(torch.autograd.grad(phi(model, x, s), s))
            p[-1] = p[-1] + beta * (y - s[-1])
            units = [segment[-1] for segment in model.segments]  # type: ignore[index]
            s = [units[i](p[i]) if i in group else s[i] for i in numbers]
        return s

    def dphi(s: list[Tensor]) -> Tensor:
        grads = torch.autograd.grad(phi(model, x, s), [*model.parameters()])
        return torch.cat([each.flatten() for each in grads])

    free = [torch.full((N, *layer.shape), 0.4, dtype=x.dtype) for layer in rule.relaxation.layers]
    plus = minus = free = step(free)
    for _ in range(3):
        plus, minus = step(plus, beta), step(minus, -beta)
    if nudging == "one-sided":
        wanted = -(dphi(plus) - dphi(free)) / (beta * N)
    else:
        wanted = -(dphi(plus) - dphi(minus)) / (2 * beta * N)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------- backpropagation through time


def numeric_gradient(model: Model, loss: Callable[[], float], h: float = 1e-5) -> Tensor:
    """Return central differences with respect to every element of every parameter."""
    found = []
    for p in model.parameters():
        flat = p.data.view(-1)
        for i in range(len(flat)):
            kept = float(flat[i])
            both = []
            for value in (kept + h, kept - h):
                flat[i] = value
                both.append(loss())
            flat[i] = kept
            found.append((both[0] - both[1]) / (2 * h))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
@pytest.mark.parametrize(("net", "steps"), [("dense", 12), ("convolutional", 5)])
def test_bptt_through_all_steps_is_the_derivative_of_the_relaxed_loss(
    net: str, steps: int, loss: Any
) -> None:
    model = NETS[net](loss == "cross-entropy", size=1.5)
    rule = bptt(model, loss=loss, free_steps=steps, nudge_steps=99, initial=0.3)
    x, y = batch_for(model)
    found = gradient(rule, model, (x, y))

    def relaxed() -> float:
        with torch.no_grad():
            o = model(x)
        if loss == "cross-entropy":
            return float(F.cross_entropy(o, y))
        return float(((o - F.one_hot(y, 3)) ** 2).sum() / (2 * len(y)))

    assert apart(float64(found), float64(numeric_gradient(model, relaxed))) < 1e-6


@pytest.mark.parametrize("K", [1, 2, 5])
def test_bptt_takes_the_states_before_the_last_updates_for_constants(K: int) -> None:
    model = binary_model(HardSigmoid, 1, "fan-in")
    x, y = randn(6, 6, seed=3), torch.arange(6) % 3
    found = gradient(bptt(model, free_steps=8, nudge_steps=K), model, (x, y))
    net = Dynamics(model, "even-odd")
    before = net.start(float64(x))
    for _ in range(8 - K):
        before = net.step(before)

    def from_there() -> float:
        net, s = Dynamics(model, "even-odd"), before
        for _ in range(K):
            s = net.step(s)
        return float(((s[-1] - np.eye(3)[y]) ** 2).sum() / (2 * len(y)))

    wanted = numeric_gradient(model, from_there)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


# ------------------------------------------------------------- what beta -> 0 leads to

BETAS = [10 ** (-exponent / 2) for exponent in range(2, 7)]  # 0.1 to 0.001


@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
@pytest.mark.parametrize("net", NETS)
def test_the_error_against_bptt_falls_as_beta_and_centred_as_its_square(
    net: str, loss: Any
) -> None:
    """Ernoult et al., theorem 1; Laborieux et al., section 2.4."""
    model = NETS[net](loss == "cross-entropy")
    batch = batch_for(model)
    exact = gradient(bptt(model, loss=loss, **LONG), model, batch)
    for nudging, order in (("one-sided", 1), ("centred", 2)):
        errors = []
        for beta in BETAS:
            rule = eqprop(model, loss=loss, nudge="drive", nudging=nudging, beta=beta, **LONG)
            errors.append(relative_error(gradient(rule, model, batch), exact))
            assert rule.diagnostics()["residual"] < 1e-12, "the states did not come to rest"
        slope = np.polyfit(np.log(BETAS), np.log(errors), 1)[0]
        assert order - 0.1 * order < slope < order + 0.1 * order, (nudging, errors)


@pytest.mark.parametrize("error", ["live", "free"])
@pytest.mark.parametrize("nudge", ["state", "clamped"])
@pytest.mark.parametrize("net", NETS)
def test_a_nudge_of_the_state_leads_to_the_loss_whose_error_is_that_of_the_drive(
    net: str, nudge: Any, error: Any
) -> None:
    """dL/da_L = s_L - y: with sigmoid outputs, L = softplus(a) - y a, the binary cross-entropy."""
    model = NETS[net]()
    x, y = batch = batch_for(model)
    bptt(model, **LONG)
    matching = F.binary_cross_entropy(model(x), F.one_hot(y, 3).double(), reduction="sum") / len(y)
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(matching, [*model.parameters()])])
    squared = gradient(bptt(model, **LONG), model, batch)
    rule = eqprop(model, nudge=nudge, error=error, beta=1e-3, **LONG)
    found = gradient(rule, model, batch)
    assert relative_error(found, exact) < 1e-4
    assert relative_error(squared, exact) > 0.1


def test_a_read_out_learns_exactly_what_backpropagation_would_teach_it() -> None:
    model = convolutional(read_out=True)
    x, y = batch_for(model)
    rule = eqprop(model, loss="cross-entropy")
    gradient(rule, model, (x, y))
    last = list(model.segments[-1].parameters())
    found = [p.grad for p in last]
    wanted = torch.autograd.grad(F.cross_entropy(model(x), y), last)
    torch.testing.assert_close(found, list(wanted), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [EquilibriumPropagation, BackpropagationThroughTime])
@pytest.mark.parametrize("loss", ["squared", "cross-entropy"])
def test_a_batchs_gradient_is_the_mean_over_its_examples(kind: Any, loss: Any) -> None:
    model = convolutional(loss == "cross-entropy")
    rule = attached(kind(loss=loss), model)
    x, y = batch_for(model)
    together = gradient(rule, model, (x, y))
    single = [gradient(rule, model, (x[i : i + 1], y[i : i + 1])) for i in range(len(x))]
    assert bool(together.isfinite().all())
    torch.testing.assert_close(together, torch.stack(single).mean(0), rtol=1e-9, atol=1e-12)


def test_one_class_is_learned() -> None:
    model = redrawn([nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()), nn.Linear(3, 1)], (4,))
    x, y = randn(5, 4), torch.zeros(5, dtype=torch.int64)
    found = gradient(eqprop(model, nudge="drive", beta=1e-4, **LONG), model, (x, y))
    exact = gradient(bptt(model, **LONG), model, (x, y))
    assert relative_error(found, exact) < 1e-6


def test_an_activation_that_works_in_place_changes_nothing() -> None:
    found = []
    for inplace in (False, True):
        model = redrawn([nn.Sequential(nn.Linear(5, 3), nn.ReLU(inplace))], (5,), size=2)
        found.append(gradient(eqprop(model, nudge="drive"), model, batch_for(model)))
    assert torch.equal(*found)


def test_a_frozen_parameter_gets_no_gradient() -> None:
    model = dense()
    frozen = next(model.parameters()).requires_grad_(False)
    gradient(eqprop(model), model, batch_for(model))
    assert frozen.grad is None
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


# ------------------------------------------------------------- the sign of beta


def signs(rule: EquilibriumPropagation, model: Model, count: int = 12) -> list[int]:
    """Return which sign of beta a rule takes for one batch after another."""
    batch = batch_for(model)
    both = {
        sign: gradient(eqprop(model, nudging="one-sided", beta=sign * rule.beta), model, batch)
        for sign in (1, -1)
    }
    assert not torch.allclose(both[1], both[-1])
    found = [gradient(rule, model, batch) for _ in range(count)]
    return [1 if torch.equal(each, both[1]) else -1 if torch.equal(each, both[-1]) else 0
            for each in found]  # fmt: skip


def test_the_sign_of_beta_is_drawn_for_each_batch_by_the_seed() -> None:
    model = dense()
    one, same, other = (
        signs(eqprop(model, seed, nudging="random-sign"), model) for seed in (1, 1, 2)
    )
    assert set(one) == {1, -1}
    assert one == same
    assert one != other


def test_the_sign_of_a_closure_is_its_own_and_a_state_carries_the_next() -> None:
    model = dense()
    batch = batch_for(model)
    rule, other = (eqprop(model, seed, nudging="random-sign") for seed in (1, 2))
    for _ in range(10):
        closure = rule.closure(model, batch)
        seen = []
        for _ in range(3):
            closure()
            seen.append(torch.cat([p.grad.flatten() for p in model.parameters()]))  # type: ignore[union-attr]
        assert torch.equal(seen[0], seen[1])
        assert torch.equal(seen[0], seen[2])
    other.load_state_dict(rule.state_dict())
    assert signs(other, model) == signs(rule, model)
