"""What a relaxing rule tells of its free phase, and how a model infers by it."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from eqprop_nets import (
    LONG,
    Dynamics,
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
from torch import nn

import bnnlab
from bnnlab import BinaryConv2d, BinaryLinear, Model, binarize
from bnnlab_eqprop.bptt import BackpropagationThroughTime
from bnnlab_eqprop.relaxation import Network, Nudge, States
from bnnlab_eqprop.rule import EquilibriumPropagation
from bnnlab_eqprop.units import BinaryUnit, HardSigmoid
from bnnlab_testing.equations import float64


def test_diagnostics_tell_of_the_last_free_phase_and_are_cleared() -> None:
    model = binary_model(HardSigmoid, 1, "fan-in")
    rule = eqprop(model, free_steps=4)
    assert rule.diagnostics() == {}
    x, y = randn(9, 6, seed=3), torch.arange(9) % 3
    gradient(rule, model, (x + 1, y))
    gradient(rule, model, (x, y))
    found = rule.diagnostics()
    net = Dynamics(model, "even-odd")
    s = net.start(float64(x))
    for _ in range(4):
        before, s = s, net.step(s)
    moved = max(np.abs(new - old).max() for old, new in zip(before, s, strict=True))
    assert moved > 0
    assert found.pop("residual") == pytest.approx(moved, rel=1e-9)
    assert found.pop("free_steps") == 4
    for number in (1, 2, 3):
        share = np.mean((s[number] == 0) | (s[number] == 1))
        assert found.pop(f"saturation.{number}") == pytest.approx(share)
    assert found == {}
    assert rule.diagnostics() == {}


def test_a_tolerance_ends_the_free_phase_and_a_loose_one_sooner() -> None:
    model = dense()
    steps = []
    for tolerance in (1e-1, 1e-3, 1e-6, 0.0):
        rule = eqprop(model, free_steps=400, tolerance=tolerance)
        gradient(rule, model, batch_for(model))
        found = rule.diagnostics()
        assert found["residual"] <= tolerance
        steps.append(found["free_steps"])
    assert steps == sorted(set(steps))
    assert steps[0] > 1
    assert steps[-1] < 400, "float64 states come to rest exactly"


def test_states_without_bounds_have_no_saturation_and_those_of_a_relu_do() -> None:
    layers = [nn.Sequential(nn.Linear(5, 6), nn.ReLU()), nn.Linear(6, 3)]
    model = redrawn(layers, (5,), size=0.3)
    rule = eqprop(model)
    gradient(rule, model, batch_for(model))
    found = rule.diagnostics()
    assert 0 < found["saturation.1"] < 1
    assert "saturation.2" not in found


def test_stopping_where_nothing_moves_changes_no_bit() -> None:
    """With tolerance 0 the steps left out would have changed nothing."""
    model = dense()
    batch = batch_for(model)
    rule = eqprop(model, free_steps=400)
    stopped = gradient(rule, model, batch)
    steps = round(rule.diagnostics()["free_steps"])
    assert steps < 400
    assert torch.equal(gradient(eqprop(model, free_steps=steps), model, batch), stopped)
    early = eqprop(model, free_steps=steps - 1)
    gradient(early, model, batch)
    assert early.diagnostics()["residual"] > 0
    assert torch.equal(gradient(eqprop(model, free_steps=steps + 50), model, batch), stopped)


class Trembling(Network):
    """States that every step moves by `size`, to and fro, or on and on."""

    size, on = 0.0, False
    steps = 0

    def step(self, states: States, nudge: Nudge | None = None) -> None:
        super().step(states, nudge)
        self.steps += 1
        states.s[0] = states.s[0] + self.size * (self.steps if self.on else self.steps % 2)


@pytest.mark.parametrize(
    ("unit", "size", "on", "most"),
    [
        (nn.Sigmoid, 4e-16, False, 80),
        (nn.Sigmoid, 1e-13, False, 300),  # more than rounding
        (nn.Sigmoid, 4e-16, True, 300),  # much further in time
        (BinaryUnit, 4e-16, False, 300),  # may come to its threshold
    ],
)
@torch.no_grad()
def test_states_that_only_move_by_rounding_are_at_rest(
    unit: Callable[[], nn.Module], size: float, on: bool, most: int
) -> None:
    model = redrawn([nn.Sequential(nn.Linear(5, 6), unit()), nn.Linear(6, 3)], (5,))
    rule, ends = eqprop(model), []
    for tolerance in (0.0, None):
        network = Trembling(rule.relaxation.layers, batch_for(model)[0], "synchronous")
        network.size, network.on = size, on
        states = network.start(0.4)
        steps, _ = network.settle(states, 300, tolerance)
        assert (steps == 300) == (tolerance is None or most == 300)
        assert steps <= most or tolerance is None
        ends.append(states.s)
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=4e-15)


def test_without_a_tolerance_all_steps_are_made_and_change_nothing() -> None:
    model = dense()
    batch = batch_for(model)
    stopped = gradient(eqprop(model, free_steps=400), model, batch)
    rule = eqprop(model, free_steps=400, tolerance=None)
    torch.testing.assert_close(gradient(rule, model, batch), stopped, rtol=1e-9, atol=1e-12)
    assert rule.diagnostics()["free_steps"] == 400
    assert rule.waits == 0


# ------------------------------------------------------------- inference


@pytest.mark.parametrize("carry", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("kind", [EquilibriumPropagation, BackpropagationThroughTime])
def test_a_copy_of_a_model_infers_with_weights_of_its_own(
    carry: Callable[[Model], Model], kind: Any
) -> None:
    model = convolutional()
    attached(kind(), model)
    x, _ = batch_for(model)
    before = model(x)
    other = carry(model)
    assert torch.equal(other(x), before)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(2)
    assert torch.equal(model(x), before)
    assert not torch.allclose(other(x), before)


@pytest.mark.parametrize("activation", ["hardtanh", "relu"])
@pytest.mark.parametrize("weights", ["binary", "real"])
def test_the_cores_mlp_can_be_relaxed(activation: str, weights: str) -> None:
    model = bnnlab.create(
        "model", "mlp", input_shape=(1, 2, 3), classes=3, hidden=[8, 7], norm="none",
        activation=activation, weights=weights, bias=True,
    ).double()  # fmt: skip
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1 and weights == "real":
                p.mul_(0.2)
        for module in model.modules():
            if isinstance(module, BinaryLinear):
                module.fixed_scale *= 0.3
    batch = batch_for(model)
    exact = gradient(bptt(model, **LONG), model, batch)
    found = gradient(eqprop(model, nudge="drive", beta=1e-6, **LONG), model, batch)
    assert relative_error(found, exact) < 1e-4


def test_a_binarised_network_can_be_relaxed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
        )
    model = binarize(net, policy="all", input_shape=(1, 8, 8)).double()
    for module in model.modules():
        if isinstance(module, BinaryConv2d | BinaryLinear):
            module.fixed_scale *= 0.3
    batch = batch_for(model)
    composed = model(batch[0])
    # From 0, the first step of even-odd order runs from the input to the output.
    bptt(model, free_steps=1)
    torch.testing.assert_close(model(batch[0]), composed)
    exact = gradient(bptt(model, **LONG), model, batch)
    found = gradient(eqprop(model, nudge="drive", beta=1e-6, **LONG), model, batch)
    assert relative_error(found, exact) < 1e-4
