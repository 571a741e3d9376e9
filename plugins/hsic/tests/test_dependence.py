"""Kernels and measures of dependence against their definitions, written out in NumPy."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bnnlab_hsic import dependence

M, D = 7, 6


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernels() -> tuple[Tensor, Tensor]:
    F, other = dependence.gram(draw(M, D)), dependence.gram(draw(M, D, seed=1))
    return dependence.gaussian(F, 0.7 * math.sqrt(D)), dependence.cosine(other)


H = np.eye(M) - np.ones((M, M)) / M
EXACT = {"rtol": 1e-10, "atol": 1e-14}


def test_hsic_is_its_trace() -> None:
    A, B = kernels()
    wanted = np.trace(H @ A.numpy() @ H @ B.numpy()) / M**2
    np.testing.assert_allclose(dependence.hsic(A, B).item(), wanted, **EXACT)


def test_phsic_is_its_sum_over_pairs() -> None:
    A, B = (K.numpy() for K in kernels())
    pairs = [(A[i, j] - A.mean()) * B[i, j] for i in range(M) for j in range(M)]
    found = dependence.phsic(*kernels()).item()
    np.testing.assert_allclose(found, sum(pairs) / M**2, **EXACT)


def test_nhsic_is_that_of_ma_et_al() -> None:
    A, B = kernels()
    ridge = 1e-5 * M * np.eye(M)
    # The paper's centred matrix is KH; with HKH, which is symmetric, the trace is the same.
    one, two = ((K.numpy() @ H) @ np.linalg.inv(K.numpy() @ H + ridge) for K in (A, B))
    found = dependence.nhsic(A, B).item()
    np.testing.assert_allclose(found, np.trace(one @ two), rtol=1e-9)
    assert 0 <= found < M


@pytest.mark.parametrize("measure", [dependence.hsic, dependence.phsic, dependence.nhsic])
def test_every_example_twice_changes_no_measure(measure: object) -> None:
    A, B = kernels()
    assert callable(measure)
    torch.testing.assert_close(measure(A.repeat(2, 2), B.repeat(2, 2)), measure(A, B))


def test_the_cosine_kernel() -> None:
    F = draw(M, D).numpy()
    wanted = [[a @ b / math.sqrt((a @ a) * (b @ b)) for b in F] for a in F]
    np.testing.assert_allclose(
        dependence.cosine(dependence.gram(draw(M, D))).numpy(), wanted, **EXACT
    )


def test_the_gaussian_kernel() -> None:
    F = draw(M, D).numpy()
    width = 0.7 * math.sqrt(D)
    wanted = [[math.exp(-((a - b) @ (a - b)) / (2 * width**2)) for b in F] for a in F]
    found = dependence.gaussian(dependence.gram(draw(M, D)), width)
    np.testing.assert_allclose(found.numpy(), wanted, **EXACT)


@pytest.mark.parametrize("m", [4, 7])
def test_the_median_distance_is_of_pairs_of_examples(m: int) -> None:
    F = draw(m, D).numpy()
    apart = sorted(math.dist(F[i], F[j]) for i in range(m) for j in range(i))
    found = dependence.median_distance(dependence.gram(draw(m, D)))
    assert found.item() == pytest.approx(apart[(len(apart) - 1) // 2], rel=1e-12)


def test_a_median_distance_of_0_is_the_mean_one_or_1() -> None:
    F = draw(2, D)[torch.tensor([0] * 6 + [1])].float()
    found = dependence.median_distance(dependence.gram(F))
    assert found.item() == pytest.approx(float((F[0] - F[6]).norm()) * 6 / 21, rel=1e-5)
    for rows in (6, 1):
        assert dependence.median_distance(dependence.gram(F[:rows])).item() == 1


def test_centring_is_over_the_features_of_an_example() -> None:
    F = draw(M, D)
    wanted = [[f - sum(example) / D for f in example] for example in F.tolist()]
    np.testing.assert_allclose(dependence.centred(F).numpy(), wanted, **EXACT)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -1e-20, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_example_of_equal_features_is_centred_to_0(value: float, dtype: torch.dtype) -> None:
    F = torch.full((2, 1001), value, dtype=dtype)
    F[1, 0] = value + 1
    C = dependence.centred(F)
    assert not C[0].any()
    assert C[1].all()


@pytest.mark.parametrize("power", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("shape", [(6,), (5, 6), (6, 2, 3)])
def test_a_groups_spread_is_a_power_of_its_smoothed_variance(
    shape: tuple[int, ...], power: float
) -> None:
    Z = draw(M, *shape)
    found = dependence.group(Z, 3, power)
    assert found.shape == (M, 3)
    channels = Z.numpy() if len(shape) != 2 else Z.numpy().transpose(0, 2, 1)
    for example in range(M):
        for alpha in range(3):
            units = channels[example, 2 * alpha : 2 * alpha + 2].ravel().tolist()
            mean = sum(units) / len(units)
            v = (1 + sum((z - mean) ** 2 for z in units)) / len(units)
            assert found[example, alpha].item() == pytest.approx(v ** (1 - power), rel=1e-12)
