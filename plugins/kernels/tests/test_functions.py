"""Compiled functions against those of float64, and the random numbers."""

from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy import special, stats

from bnnlab_kernels.functions import FAST, exp, log, logit, normal, sign, uniform, words


def applied(function: Any, x: np.ndarray) -> np.ndarray:
    @njit(**FAST)
    def loop(x, out):  # type: ignore[no-untyped-def]
        for i in range(len(x)):
            out[i] = function(x[i])

    out = np.empty_like(x)
    loop(x, out)
    return out


def test_functions_are_those_of_numpy() -> None:
    x = np.linspace(-86, 86, 9999, dtype=np.float32)
    assert np.abs(applied(exp, x) / np.exp(x.astype(float)) - 1).max() < 1e-6
    x = np.exp(x)
    np.testing.assert_allclose(applied(log, x), np.log(x.astype(float)), rtol=1e-6, atol=1e-6)
    u = ((np.arange(2**23)[:: 2**9] + 0.5) / 2**23).astype(np.float32)
    u = np.concatenate([u, 1 - u[:9]])
    exact = u.astype(float)
    np.testing.assert_allclose(applied(normal, u), special.ndtri(exact), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(applied(logit, u), special.logit(exact), rtol=1e-5, atol=1e-5)


def test_the_sign_is_that_of_the_sign_bit() -> None:
    x = np.array([-2, -0.0, 0.0, 3, -np.inf] * 9, np.float32)
    np.testing.assert_array_equal(applied(sign, x), np.copysign(1, x))


def test_what_is_not_a_number_stays_so() -> None:
    assert np.isnan(applied(exp, np.array([np.nan] * 20, np.float32))).all()


@njit(**FAST)
def uniforms(key, index, draw, out):  # type: ignore[no-untyped-def]
    first, second = words(key, index, draw)
    for i in range(len(out)):
        out[i] = uniform(i, first, second)


def drawn(key: int, index: int = 0, draw: int = 0, count: int = 1 << 16) -> np.ndarray:
    out = np.empty(count, np.float32)
    uniforms(np.uint64(key), index, draw, out)
    return out


def test_random_numbers_are_uniform_and_in_the_open_interval() -> None:
    u = np.concatenate([drawn(key) for key in range(16)])
    assert 0 < u.min() < 1e-5
    assert 1 > u.max() > 1 - 1e-5
    assert stats.kstest(u, "uniform").pvalue > 1e-4
    for bits in (1, 2, 5):  # of neighbours, too
        cells = (u * 2**bits).astype(int)
        pairs = np.bincount((cells[:-1] << bits) + cells[1:], minlength=4**bits)
        assert stats.chisquare(pairs).pvalue > 1e-4


@pytest.mark.parametrize(
    "others", [[(1, 0, 0)], [(0, 1, 0)], [(0, 0, 1)], [(2**32, 0, 0)], [(2**63, 0, 0)]]
)
def test_keys_parameters_and_draws_have_numbers_of_their_own(others: Any) -> None:
    one, other = drawn(0), drawn(*others[0])
    size = len(one)
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / size**0.5
    # nor are they the same numbers in another order
    assert len(np.intersect1d(one, other)) < 3 * size**2 / 2**23
