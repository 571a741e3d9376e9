"""Dropout: its law, masks that are model state, and what leaves them to a second pass."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from bnnlab import BinaryLinear, Model, Sign
from bnnlab.families.draws import backpropagate
from bnnlab.interfaces.rule import Batch
from bnnlab.nn.dropout import Dropout, drawing_state
from bnnlab.nn.normalization import frozen_statistics


def make(rate: float = 0.3, seed: int = 0) -> Dropout:
    return Dropout(rate, torch.Generator().manual_seed(seed))


def masks(dropout: Dropout, count: int, size: int) -> np.ndarray:
    return np.stack([(dropout(torch.ones(size)) > 0).numpy() for _ in range(count)])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_each_input_is_dropped_with_the_rate_and_the_mean_is_kept(rate: float) -> None:
    x = torch.linspace(-2, 3, 200_000, dtype=torch.float64)
    y = make(rate)(x)
    assert y.dtype == x.dtype
    kept = y != 0
    np.testing.assert_allclose(y[kept], (x / (1 - rate))[kept], rtol=1e-12)
    bound = 5 * math.sqrt(rate * (1 - rate) / len(x))  # five standard deviations
    assert float(kept.double().mean()) == pytest.approx(1 - rate, abs=bound)


def test_masks_are_independent_of_their_neighbours_of_earlier_ones_and_of_other_seeds() -> None:
    drawn, other = masks(make(0.5), 40, 5000), masks(make(0.5, seed=1), 40, 5000)
    signs, others = 2.0 * drawn - 1, 2.0 * other - 1
    pairs = [(signs[1:], signs[:-1]), (signs, others)]
    pairs += [(signs[:, lag:], signs[:, :-lag]) for lag in (1, 2, 3, 64, 1024)]
    for one, two in pairs:
        assert abs((one * two).mean()) < 5 / math.sqrt(one.size)
    for axis in (0, 1):  # counts spread as those of independent draws: chi^2 within 5 deviations
        counts = signs.sum(axis) / math.sqrt(signs.shape[axis])
        assert (counts**2).mean() == pytest.approx(1, abs=5 * math.sqrt(2 / counts.size))


def test_it_is_off_in_evaluation() -> None:
    dropout, x = make().eval(), torch.randn(5)
    assert dropout(x) is x
    assert not dropout.drawn


def test_masks_go_on_from_the_state_and_draw_nothing_from_torch() -> None:
    before = torch.get_rng_state()
    dropout, other = make(), make(seed=7)
    masks(dropout, 3, 20)
    other.load_state_dict(dropout.state_dict())
    twin = copy.deepcopy(dropout)
    expected = masks(dropout, 5, 20)
    assert (masks(other, 5, 20) == expected).all()
    assert (masks(twin, 5, 20) == expected).all()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_gradient_passes_where_the_input_does() -> None:
    dropout, x = make(0.5), torch.ones(100, requires_grad=True)
    y = dropout(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_a_second_pass_over_a_batch_has_the_same_masks() -> None:
    model = Model([nn.Sequential(nn.Linear(6, 50), make()), nn.Linear(50, 4)], (6,))
    x = torch.randn(3, 6)
    with frozen_statistics(model):
        first = model(x)
    state = drawing_state(model)
    assert state.keys() == {"segments.0.1.seed", "segments.0.1.drawn"}
    assert torch.equal(model(x), first)
    assert not torch.equal(model(x), first)
    assert state["segments.0.1.drawn"] == 0
    again = torch.func.functional_call(model, state, (x,))
    assert torch.equal(again, first)


def test_several_draws_are_not_made_in_one_pass() -> None:
    g = torch.Generator().manual_seed(0)
    layers = [BinaryLinear(6, 8, generator=g), Sign(), make(), BinaryLinear(8, 3, generator=g)]
    model = Model([nn.Sequential(*layers)], (6,))
    batch = Batch(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]), nn.functional.cross_entropy)
    draws = {name: torch.stack([p, -p]) for name, p in model.binary_parameters().items()}
    assert backpropagate(model, batch, draws) is None
    assert backpropagate(model.eval(), batch, draws) is not None
