"""The gates against their definition, at and around every corner of it."""

import pytest
import torch

from bnnlab.nn.gates import Gate, ReverseBinaryGate

# In units of the width: the corners are 1/2, 1 and 3/2.
SIZES = [0.0, 0.4, 0.5, 0.6, 0.9, 1.0, 1.1, 1.4, 1.5, 1.6, 100.0]
SMALL = [1, 1, 1, 1, 1, None, 0, 0, 0, 0, 0]  # None: the activation's own choice
FLANK = [0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
WIDTHS = [0.5, 1.0, 2.0]  # powers of two, so that the corners are exact


def outputs_and_slopes(module: torch.nn.Module, x: torch.Tensor) -> tuple[list, list]:
    x = x.clone().requires_grad_()
    y = module(x)
    (slopes,) = torch.autograd.grad(y.sum(), x)
    return y.tolist(), (slopes + 0).tolist()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("width", WIDTHS)
def test_gate(width: float, sign: int) -> None:
    x = torch.tensor(SIZES) * width * sign
    y, slopes = outputs_and_slopes(Gate(width), x)
    assert y == [1 if small else -1 for small in SMALL]
    assert slopes == [-sign * flank for flank in FLANK]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("width", WIDTHS)
def test_reverse_binary_gate(width: float, sign: int) -> None:
    x = torch.tensor(SIZES) * width * sign
    y, slopes = outputs_and_slopes(ReverseBinaryGate(width), x)
    assert y == [0 if small or small is None else 1 for small in SMALL]
    assert slopes == [sign * flank for flank in FLANK]


@pytest.mark.parametrize("kind", [Gate, ReverseBinaryGate])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_incoming_gradient_is_multiplied_and_dtypes_are_kept(
    kind: type, dtype: torch.dtype
) -> None:
    x = torch.tensor([-1.0, 0.0, 1.0], dtype=dtype, requires_grad=True)
    y = kind()(x)
    assert y.dtype == dtype
    y.backward(torch.tensor([3.0, 5.0, 7.0], dtype=dtype))
    slope = 1 if kind is ReverseBinaryGate else -1
    assert x.grad is not None
    assert x.grad.tolist() == [-3 * slope, 0, 7 * slope]


@pytest.mark.parametrize("kind", [Gate, ReverseBinaryGate])
def test_draws_in_front_and_vmap_change_nothing(kind: type) -> None:
    module = kind(1.25)
    assert module.leading_draws
    x = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(1)) * 2

    def summed(each: torch.Tensor) -> torch.Tensor:
        return (module(each) * 2).sum()

    apart = torch.stack([module(each) for each in x])
    assert torch.equal(module(x), apart)
    assert torch.equal(torch.vmap(module)(x), apart)
    grads = torch.stack([torch.func.grad(summed)(each) for each in x])
    assert grads.abs().sum() > 0
    assert torch.equal(torch.vmap(torch.func.grad(summed))(x), grads)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("kind", [Gate, ReverseBinaryGate])
def test_a_width_that_is_not_above_0_is_refused(kind: type, width: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        kind(width)


def test_the_width_is_shown() -> None:
    assert repr(Gate(1.25)) == "Gate(1.25)"
