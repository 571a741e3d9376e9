"""Beakers against their equations, transcribed to float64 NumPy."""

from typing import Any

import numpy as np
import pytest
import torch

from bnnlab import Model, UsageError
from bnnlab_metaplasticity.beakers import BeakerAdam
from bnnlab_testing import toy
from bnnlab_testing.equations import apart, float64, make_closure, make_model

STEPS = 20
BIG = {"m": 20.0, "ratios": [0.3, 0.2, 0.1], "areas": [1.0, 2.0, 3.0], "feedback": 0.2}


def make_optimizer(model: Model, **options: Any) -> BeakerAdam:
    return BeakerAdam(model, generator=torch.Generator().manual_seed(2), **options)


class Paper:
    """`Adam_bk` of the code of Laborieux et al. for one array, with the levels u_0 to u_n = 0."""

    def __init__(self, W: np.ndarray, lr: float, **chain: Any) -> None:
        self.lr, self.r, self.A = lr, chain["ratios"], chain["areas"]
        self.m, self.b, self.n = chain["m"], chain["feedback"], len(self.r)
        self.u = [W.copy() for _ in self.r] + [np.zeros_like(W)]
        self.m1, self.v, self.t = np.zeros_like(W), np.zeros_like(W), 0

    def step(self, g: np.ndarray) -> None:
        self.t += 1
        self.m1 = 0.9 * self.m1 + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        s = self.lr * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        u, r, A, last = self.u, self.r, self.A, self.n - 1
        new = [level.copy() for level in u]
        new[0] += -s * self.m1 / (np.sqrt(self.v) + 1e-8) + r[0] / A[0] * (u[1] - u[0])
        back = u[last] - u[0]
        self.strengthens = back * np.sign(u[last]) > 0
        new[0] += np.where(self.strengthens, self.b * back, 0)
        for k in range(1, self.n):
            inflow = r[k - 1] / A[k] * (u[k - 1] - u[k])
            if k == last:
                self.damps = (u[k - 1] - u[k]) * u[k] < 0
                inflow = np.where(self.damps, inflow * (1 - np.tanh(self.m * u[k]) ** 2), inflow)
            new[k] += inflow + r[k] / A[k] * (u[k + 1] - u[k])
        self.u = new


@pytest.mark.parametrize("chain", [BIG, {**BIG, "ratios": [0.3, 0.2], "areas": [1.0, 4.0]}])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_20_steps_agree_with_the_equations(
    chain: dict[str, Any], dtype: torch.dtype, tolerance: float
) -> None:
    model = make_model().to(dtype)
    optimizer = make_optimizer(model, lr=0.01, **chain)
    binary = list(model.binary_parameters().values())
    papers = {p: Paper(float64(optimizer.state[p]["latent"]), 0.01, **chain) for p in binary}
    for step in range(STEPS):
        optimizer.step(make_closure(model, step))
        for p, paper in papers.items():
            assert p.grad is not None
            paper.step(float64(p.grad))
            assert p.detach().abs().eq(1).all()
    for p, paper in papers.items():
        for cases in (paper.strengthens, paper.damps):
            assert 0 < cases.mean() < 1, "only one case is compared"
        for name, wanted in zip(("latent", "u1", "u2"), paper.u[:-1], strict=False):
            assert apart(float64(optimizer.state[p][name]), wanted) < tolerance


def test_real_parameters_get_adam_alone() -> None:
    """They are those of the same optimizer without pipes, at weights that are the same."""
    ends = []
    for feedback in (0.0, 0.5):
        model = make_model()
        optimizer = make_optimizer(model, feedback=feedback)
        optimizer.step(make_closure(model, 0))
        ends.append([p.detach().clone() for p in optimizer.param_groups[1]["params"]])
        assert not any("u1" in optimizer.state[p] for p in optimizer.param_groups[1]["params"])
    assert all(map(torch.equal, *ends))


def test_real_weights_have_beakers_too() -> None:
    model = toy.make_real_model()
    optimizer = make_optimizer(model, weights="real", **BIG)
    weights = optimizer.learned()
    papers = {p: Paper(float64(p), 0.005, **BIG) for p in weights}
    for value in (0.3, -0.2, 0.1):
        optimizer.step(toy.constant(model, value))
        for p, paper in papers.items():
            paper.step(np.full(p.shape, value))
    for p, paper in papers.items():
        assert np.abs(float64(p) - paper.u[0]).max() < 1e-5


@pytest.mark.parametrize(("ratios", "areas"), [([0.1], [1.0]), ([0.1, 0.2], [1.0])])
def test_a_chain_without_an_area_per_pipe_is_refused(
    ratios: list[float], areas: list[float]
) -> None:
    with pytest.raises(UsageError, match="give as many of both, two or more"):
        make_optimizer(make_model(), ratios=ratios, areas=areas)
