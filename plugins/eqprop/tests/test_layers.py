"""Layers and units of a relaxing network: drive, feedback, derivatives."""

from typing import Any

import pytest
import torch
from eqprop_nets import randn
from torch import Tensor, nn

from bnnlab import BinaryConv2d, BinaryLinear
from bnnlab_eqprop.chain import Layer, layers_of
from bnnlab_eqprop.units import BinaryUnit, MeanOfCopies
from bnnlab_testing.equations import draws

GEOMETRIES: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "plain": ({"kernel_size": 3}, None),
    "strided": ({"kernel_size": 3, "stride": (2, 3)}, None),
    "padded": ({"kernel_size": (3, 2), "padding": (2, 1)}, {"kernel_size": 2}),
    "dilated": ({"kernel_size": 3, "dilation": 2, "padding": 1}, None),
    "grouped": ({"kernel_size": 2, "groups": 2}, {"kernel_size": 2}),
    "overlapping windows": ({"kernel_size": 2}, {"kernel_size": 3, "stride": 1}),
    "cut windows": ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "padded windows": ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "dilated windows": ({"kernel_size": 2}, {"kernel_size": 2, "stride": 3, "dilation": 3}),
}


def layer_of(*parts: nn.Module, shape: tuple[int, ...]) -> Layer:
    (layer,), copies = layers_of([nn.Sequential(*parts).double()], shape)
    assert copies is None
    return layer


def convolution(name: str, scale: str, bias: bool) -> Layer:
    geometry, pool = GEOMETRIES[name]
    weigh: nn.Module
    if scale == "real":
        with torch.random.fork_rng(devices=[]):
            weigh = nn.Conv2d(4, 6, bias=bias, **geometry)
    else:
        weigh = BinaryConv2d(4, 6, bias=bias, scale=scale, generator=draws(1), **geometry)  # type: ignore[arg-type]
    return layer_of(weigh, *([nn.MaxPool2d(**pool)] if pool else []), shape=(4, 9, 8))


def linear(scale: str, bias: bool) -> Layer:
    if scale == "real":
        with torch.random.fork_rng(devices=[]):
            return layer_of(nn.Linear(24, 5, bias=bias), shape=(2, 3, 4))
    return layer_of(BinaryLinear(24, 5, bias, scale, draws(1)), shape=(2, 3, 4))  # type: ignore[arg-type]


def make_layer(name: str, scale: str, bias: bool) -> tuple[Layer, Tensor, Tensor]:
    """Return a layer, a state below it and one above."""
    layer = linear(scale, bias) if name == "linear" else convolution(name, scale, bias)
    with torch.no_grad():
        for number, p in enumerate(layer.weights.parameters()):
            if p.ndim == 1 or scale == "real":
                p.copy_(0.3 * randn(*p.shape, seed=5 + number))
    below = randn(3, *((2, 3, 4) if name == "linear" else (4, 9, 8)), seed=1)
    return layer, below, randn(3, *layer.shape, seed=2)


LAYERS = pytest.mark.parametrize("name", ["linear", *GEOMETRIES])
SCALES = pytest.mark.parametrize("scale", ["real", "fan-in", "learned"])


@LAYERS
@SCALES
@torch.no_grad()
def test_feedback_is_the_transpose_of_the_drive(name: str, scale: str) -> None:
    layer, below, above = make_layer(name, scale, bias=False)
    for W in (None, layer.weight()):
        a, chosen = layer.drive(below, W)
        assert a.shape == above.shape
        given = layer.feedback(torch.zeros_like(below), above, chosen, layer.weight())
        assert float((a * above).sum()) == pytest.approx(float((below * given).sum()), rel=1e-10)
    torch.testing.assert_close(
        layer.feedback(below, above, chosen, layer.weight()), below + given, rtol=0, atol=1e-12
    )


@LAYERS
@SCALES
@pytest.mark.parametrize("effective", [False, True])
def test_derivatives_are_autograds_of_phi(name: str, scale: str, effective: bool) -> None:
    layer, below, above = make_layer(name, scale, bias=True)
    module = layer.weights
    W = layer.weight().detach().requires_grad_()
    a, chosen = layer.drive(below, W)
    dW, db = layer.derivative(below, above, chosen)
    assert module.bias is not None
    wanted = torch.autograd.grad((a * above).sum(), [W, module.bias])
    torch.testing.assert_close([dW, db], list(wanted), rtol=1e-10, atol=1e-12)

    parameters = dict(module.named_parameters())
    exact = dict(
        zip(
            parameters,
            torch.autograd.grad((layer.drive(below)[0] * above).sum(), [*parameters.values()]),
            strict=True,
        )
    )
    if effective:  # with respect to W, and to log alpha
        exact["weight"] = wanted[0]
        if "scale" in exact:
            exact["scale"] = exact["scale"] * parameters["scale"]
    layer.leave(dW, db, effective)
    for key, parameter in parameters.items():
        torch.testing.assert_close(parameter.grad, exact[key], rtol=1e-10, atol=1e-12, msg=key)


@pytest.mark.parametrize("effective", [False, True])
def test_one_alpha_of_a_whole_layer_has_one_derivative(effective: bool) -> None:
    layer, below, above = make_layer("padded", "learned", bias=True)
    module: Any = layer.weights
    module.scale = nn.Parameter(torch.tensor([0.3], dtype=torch.float64))
    a, chosen = layer.drive(below)
    (exact,) = torch.autograd.grad((a * above).sum(), module.scale)
    layer.leave(*layer.derivative(below, above, chosen), effective)
    torch.testing.assert_close(module.scale.grad, exact * 0.3 if effective else exact)


def test_a_binary_unit_is_1_from_one_half_on() -> None:
    s = torch.tensor([0.0, 0.4999, 0.5, 1.0])
    assert BinaryUnit.output(s).tolist() == [0, 0, 1, 1]
    assert BinaryUnit()(torch.tensor([-3.0, 0.4, 0.5, 7.0])).tolist() == [0, 0, 1, 1]


def test_a_binary_units_derivative_is_1_within_the_membranes_range() -> None:
    s = torch.tensor([-0.01, 0.0, 0.3, 0.5, 1.0, 1.01], requires_grad=True)
    (slopes,) = torch.autograd.grad((BinaryUnit.output(s) * torch.arange(1, 7)).sum(), s)
    assert slopes.tolist() == [0, 2, 3, 4, 5, 0]


def test_a_membrane_follows_its_drive_within_0_and_1() -> None:
    s, p = torch.tensor([0.0, 0.2, 0.9, 0.1]), torch.tensor([1.0, 0.6, 4.0, -2.0])
    # 0.75 * 0.2 + 0.25 * 0.6 = 0.3; 0.675 + 1 and 0.075 - 0.5 lie outside.
    torch.testing.assert_close(BinaryUnit(0.25).follow(s, p), torch.tensor([0.25, 0.3, 1.0, 0.0]))
    assert BinaryUnit(1.0).follow(s, p).tolist() == p.clamp(0, 1).tolist()


@pytest.mark.parametrize("gamma", [0.0, -0.5, 1.5, float("nan")])
def test_another_gamma_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        BinaryUnit(gamma)


def test_copies_are_averaged_per_class() -> None:
    outputs = torch.tensor([[1.0, 2.0, 3.0, 5.0, 5.0, 9.0]])
    assert MeanOfCopies(2)(outputs).tolist() == [[3.0, 3.5, 6.0]]
    torch.testing.assert_close(MeanOfCopies(3)(outputs), torch.tensor([[3.0, 16 / 3]]))
