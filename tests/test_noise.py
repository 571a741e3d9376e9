"""Noise of 16 bits a number against the quantile functions in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bnnlab.families.noise import NEAREST, logistic_, normal_, uniform_
from bnnlab.interfaces import elementwise

SHAPE = (3, 100_001)


def drawn(fill: Callable[[Tensor, torch.Generator], Tensor], dtype: torch.dtype) -> Tensor:
    return fill(torch.empty(SHAPE, dtype=dtype), torch.Generator().manual_seed(0))


def test_uniform_noise_is_uniform_and_never_0_or_1() -> None:
    u = drawn(uniform_, torch.float32)
    assert u.shape == SHAPE
    assert float(u.min()) >= NEAREST
    assert float(u.max()) <= 1 - NEAREST
    counts = torch.histc(u, 20, 0, 1) / u.numel()
    assert (counts - 0.05).abs().max() < 0.002  # a standard deviation is 0.0004
    flat = u.flatten()
    assert abs(float(torch.corrcoef(torch.stack([flat[:-1], flat[1:]]))[0, 1])) < 0.01
    assert torch.logit(u).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_one_seed_gives_the_quantiles_of_its_uniform_numbers(dtype: torch.dtype) -> None:
    u = drawn(uniform_, torch.float64)
    logits = torch.log(u / (1 - u))
    torch.testing.assert_close(drawn(logistic_, dtype), logits.to(dtype))
    z, quantiles = drawn(normal_, dtype), torch.special.ndtri(u)
    torch.testing.assert_close(z.double(), quantiles, rtol=1e-3, atol=1e-6)
    assert float(z.double().square().mean()) == pytest.approx(1, abs=0.01)


def test_all_gaussian_values_together_have_mean_0_and_variance_1() -> None:
    def every(out: Tensor, *_: object, **__: object) -> Tensor:
        k = torch.arange(-(1 << 15), 1 << 15).to(torch.int16)
        return out.copy_(k.view(torch.int64))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "random_", every)
        z = normal_(torch.empty(1 << 16, dtype=torch.float64), torch.Generator())
    assert abs(float(z.mean())) < 1e-12
    assert float(z.square().mean()) == pytest.approx(1, abs=1e-12)
    assert float(z.diff().min()) > 0
    assert float(z.max()) == pytest.approx(4.325, abs=1e-3)


@pytest.mark.parametrize("fill", [uniform_, logistic_, normal_])
def test_chunks_change_no_number(
    fill: Callable[[Tensor, torch.Generator], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = drawn(fill, torch.float32)
    monkeypatch.setattr(elementwise, "CPU_CHUNK", 1024)
    assert torch.equal(drawn(fill, torch.float32), whole)
