"""Binary layers and the sign against their formulas, and against torch's own layers."""

import math
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab import BinaryConv2d, BinaryLinear, Model, Sign, UsageError
from bnnlab.interfaces.signs import binary_parameters, is_sign, random_signs, sign
from bnnlab.nn import layers, linear
from bnnlab.nn.activations import make_activation


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_sign_is_never_0() -> None:
    x = torch.tensor([-2.0, -0.0, 0.0, 1e-30, -1e-30, 3.0])
    assert sign(x).tolist() == [-1, -1, 1, 1, -1, 1]
    assert Sign()(x).tolist() == [-1, -1, 1, 1, -1, 1]


def test_a_graph_that_leaves_torch_has_the_same_signs() -> None:
    large = torch.finfo(torch.float32).max
    sizes = torch.tensor([0.0, 1e-45, 1e-38, 0.5, 1.0, 2.0, large, torch.inf])
    x = torch.cat([sizes, -sizes]).view(8, 2)
    layer = BinaryLinear(2, 2, generator=draws())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(nn.Sequential(Sign(), layer, Sign()), torch.ones(1, 2))
    assert "copysign" not in str(traced.inlined_graph)
    assert torch.equal(traced(x), Sign()(layer(sign(x))))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_sign_keeps_dtype_and_shape(dtype: torch.dtype) -> None:
    y = sign(torch.randn(2, 3, 4, generator=draws()).to(dtype))
    assert y.dtype == dtype
    assert y.shape == (2, 3, 4)


SURROGATES = {
    "saturating": lambda x: 1.0 if abs(x) <= 1 else 0.0,
    "identity": lambda x: 1.0,
    "polynomial": lambda x: 2 + 2 * x if -1 <= x < 0 else 2 - 2 * x if 0 <= x < 1 else 0.0,
    "swish": lambda x: 5 * (2 - 5 * x * math.tanh(2.5 * x)) / (1 + math.cosh(5 * x)),
    "tanh": lambda x: 1 / math.cosh(x) ** 2,
}
POINTS = [-3.0, -1.0, -0.75, -0.1, -0.0, 0.0, 0.3, 0.999, 1.0, 1.001, 2.0]


@pytest.mark.parametrize("name", SURROGATES)
def test_the_surrogate_gradient_follows_its_formula(name: Any) -> None:
    x = torch.tensor(POINTS, dtype=torch.float64, requires_grad=True)
    upstream = torch.linspace(-2, 3, len(POINTS), dtype=torch.float64)
    Sign(name)(x).backward(upstream)
    expected = [u * SURROGATES[name](p) for u, p in zip(upstream.tolist(), POINTS, strict=True)]
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx(expected)


def test_another_surrogate_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"'cubic'.*saturating.*identity.*polynomial.*swish.*tanh"):
        Sign("cubic")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SURROGATES)
def test_the_sign_and_its_gradient_can_be_vmapped(name: Any) -> None:
    x = torch.randn(5, 4, generator=draws())
    activation = Sign(name)

    def total(row: Tensor) -> Tensor:
        y: Tensor = activation(row).sum()
        return y

    assert torch.equal(torch.func.vmap(activation)(x), activation(x))
    each = torch.stack([torch.func.grad(total)(row) for row in x])
    assert torch.equal(torch.func.vmap(torch.func.grad(total))(x), each)


def test_the_sign_says_its_surrogate_when_printed() -> None:
    assert repr(Sign("polynomial")) == "Sign(polynomial)"
    assert repr(Sign(clip=1.25)) == "Sign(saturating, 1.25)"


def test_swish_is_the_derivative_of_a_smooth_sign() -> None:
    x = torch.tensor(POINTS, dtype=torch.float64, requires_grad=True)
    s = torch.sigmoid(5 * x)
    (2 * s * (1 + 5 * x * (1 - s)) - 1).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([SURROGATES["swish"](p) for p in POINTS])


STEPS: dict[str, Any] = {
    "sign": lambda x: math.copysign(1, x),
    "heaviside": lambda x: float(x > 0),
    "ternary": lambda x: (x > 0.75) - float(x < -0.75),
}


@pytest.mark.parametrize("clip", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", STEPS)
def test_a_step_has_its_values_and_the_surrogate_gradient_up_to_the_clip(
    kind: Any, clip: float
) -> None:
    step = make_activation(kind, clip=clip, width=0.75)
    x = torch.tensor(POINTS, dtype=torch.float64, requires_grad=True)
    y = step(x)
    assert y.tolist() == [STEPS[kind](p) for p in POINTS]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [float(abs(p) <= clip) for p in POINTS]
    assert isinstance(step, Sign)
    assert step.is_open(x).tolist() == [abs(p) <= clip for p in POINTS]
    assert is_sign(step) == (kind == "sign")


@pytest.mark.parametrize(("kind", "formula"), [
    ("relu", lambda x: max(x, 0)),
    ("hardtanh", lambda x: min(max(x, -1), 1)),
    ("tanh", math.tanh),
    ("silu", lambda x: x / (1 + math.exp(-x))),
    ("softplus", lambda x: math.log(1 + math.exp(x))),
    ("leaky-relu", lambda x: x if x > 0 else 0.01 * x),
])  # fmt: skip
def test_an_activation_of_torch_is_found_by_its_name(kind: Any, formula: Any) -> None:
    x = torch.tensor(POINTS, dtype=torch.float64)
    assert make_activation(kind)(x).tolist() == pytest.approx([formula(p) for p in POINTS])


def test_a_clip_beside_another_surrogate_is_refused() -> None:
    with pytest.raises(UsageError, match=r"model\.surrogate_clip .*model\.surrogate is 'identity'"):
        make_activation("sign", "identity", 1.5)
    with pytest.raises(ValueError, match="above 0"):
        Sign(clip=-1.0)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("scale", "factor"), [("none", 1.0), ("fan-in", 1 / math.sqrt(12))])
def test_a_linear_layer_is_scaled_sums_plus_bias(scale: Any, factor: float, bias: bool) -> None:
    layer = BinaryLinear(12, 5, bias=bias, scale=scale, generator=draws())
    x = torch.randn(3, 7, 12, generator=draws(1))
    expected = factor * torch.einsum("abi,oi->abo", x, layer.weight)
    if bias:
        assert layer.bias is not None
        assert not layer.bias.any()
        nn.init.normal_(layer.bias, generator=draws(2))
        expected = expected + layer.bias
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("rows", [1, 255, 257, 700])
def test_products_of_signs_in_integers_are_those_of_floats(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "WORTH", 0)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    layer = BinaryLinear(513, 7, scale="fan-in", generator=draws())
    x = random_signs((rows, 513), draws(1))
    expected = layer(x)  # with gradients
    with torch.no_grad():
        found = linear.linear_of_signs(x, layer.weight)
        assert found is not None
        assert torch.equal(found, torch.einsum("bi,oi->bo", x, layer.weight))
        assert torch.equal(layer(x), expected)
        assert torch.equal(torch.func.vmap(layer)(x[None])[0], expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert linear.linear_of_signs(x, layer.weight) is None
        x[-1, 5] = math.nan
        assert linear.linear_of_signs(x, layer.weight) is None
        assert layer(x).isnan()[-1].all()
        x[-1, 5] = 0
        assert linear.linear_of_signs(x, layer.weight) is None


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", ["none", "fan-in", "learned"])
@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel_size": 3},
        {"kernel_size": (3, 1), "stride": 2, "padding": (1, 0)},
        {"kernel_size": 3, "padding": "same", "dilation": 2, "groups": 2},
    ],
)
def test_a_convolution_agrees_with_torchs(geometry: dict[str, Any], scale: Any, bias: bool) -> None:
    layer = BinaryConv2d(4, 6, bias=bias, scale=scale, generator=draws(), **geometry)
    height, width = layer.weight.shape[2:]
    factors = torch.full((6,), 1.0)
    if scale != "none":
        factors /= math.sqrt(4 // layer.groups * height * width)
    if scale == "learned":
        assert layer.scale is not None
        torch.testing.assert_close(layer.scale.detach(), factors)
        nn.init.uniform_(layer.scale, 0.5, 2, generator=draws(3))
        factors = layer.scale.detach()
    if bias:
        assert layer.bias is not None
        nn.init.normal_(layer.bias, generator=draws(2))
    rest = {key: value for key, value in geometry.items() if key != "kernel_size"}
    x = torch.randn(2, 4, 9, 8, generator=draws(1))
    weight = layer.weight * factors.view(-1, 1, 1, 1)
    torch.testing.assert_close(layer(x), F.conv2d(x, weight, layer.bias, **rest))


def test_a_learned_scale_is_one_parameter_per_output_starting_at_the_fan_in_scale() -> None:
    layer = BinaryLinear(16, 3, scale="learned", generator=draws())
    assert layer.scale is not None
    assert layer.scale.tolist() == [0.25] * 3
    x = torch.randn(4, 16, generator=draws(1))
    fixed = BinaryLinear(16, 3, generator=draws())
    assert torch.equal(layer(x), fixed(x))
    layer(x).sum().backward()
    expected = (x @ layer.weight.T).sum(0)
    torch.testing.assert_close(layer.scale.grad, expected.detach())


@pytest.mark.parametrize("make", [lambda **k: BinaryLinear(4, 3, **k),
                                  lambda **k: BinaryConv2d(4, 3, 2, **k)])  # fmt: skip
def test_another_scale_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"'big'.*none.*fan-in.*learned"):
        make(scale="big")


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_a_layer_may_have_no_inputs() -> None:
    assert BinaryLinear(0, 3)(torch.ones(2, 0)).shape == (2, 3)


def make_both(generator: torch.Generator | None) -> list[Tensor]:
    linear = BinaryLinear(40, 30, bias=True, generator=generator)
    conv = BinaryConv2d(3, 8, 5, bias=True, generator=generator)
    return [linear.weight.detach(), conv.weight.detach()]


def test_weights_are_signs_and_both_are_as_likely() -> None:
    for weight in make_both(draws()):
        assert weight.abs().eq(1).all()
        assert weight.dtype == torch.float32
        assert abs(weight.mean()) < 5 / math.sqrt(weight.numel())


def test_weights_depend_on_the_generator_alone() -> None:
    assert all(map(torch.equal, make_both(draws(5)), make_both(draws(5))))
    assert not any(map(torch.equal, make_both(draws(5)), make_both(draws(6))))


def test_the_global_generator_is_untouched_when_one_is_given() -> None:
    before = torch.get_rng_state()
    make_both(draws(5))
    random_signs((3, 4), draws(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_generator_torchs_own_is_used() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        first = make_both(None)
        torch.manual_seed(4)
        assert all(map(torch.equal, first, make_both(None)))


def test_binary_parameters_are_known_by_declaration_not_by_shape() -> None:
    class Odd(nn.Module):
        binary_names = ("gate",)

        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.ones(3))
            self.gain = nn.Parameter(torch.ones(3))

    model = Model([nn.Sequential(BinaryLinear(3, 3, bias=True), nn.Linear(3, 3)), Odd()])
    assert list(model.binary_parameters()) == ["segments.0.0.weight", "segments.1.gate"]
    assert list(binary_parameters(BinaryLinear(2, 2))) == ["weight"]


def test_a_model_composes_its_segments() -> None:
    segments = [nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)]
    x = torch.randn(5, 4, generator=draws())
    assert torch.equal(Model(segments)(x), nn.Sequential(*segments)(x))


def test_a_model_without_segments_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one segment"):
        Model([])


@pytest.mark.parametrize("scale", ["none", "fan-in", "learned"])
@pytest.mark.parametrize(
    ("kind", "geometry", "fan_in"),
    [
        ("Conv1d", {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 2}, 6),
        ("Conv3d", {"kernel_size": 2, "dilation": 2}, 32),
        ("ConvTranspose1d", {"kernel_size": 4, "stride": 2, "output_padding": 1}, 8),
        ("ConvTranspose2d", {"kernel_size": 3, "stride": (1, 2), "padding": 1, "groups": 2}, 9),
        ("ConvTranspose3d", {"kernel_size": 2, "stride": 3, "dilation": 2, "output_padding": 1}, 4),
    ],
)
def test_other_convolutions_agree_with_torchs(
    kind: str, geometry: dict[str, Any], fan_in: int, scale: Any
) -> None:
    """`fan_in` by hand: in a transposed convolution a sum has kernel / stride products per side."""
    layer = getattr(layers, f"Binary{kind}")(
        4, 6, bias=True, scale=scale, generator=draws(), **geometry
    )
    twin = getattr(nn, kind)(4, 6, **geometry)
    factor = 1 if scale == "none" else fan_in**-0.5
    with torch.no_grad():
        twin.weight.copy_(layer.weight * factor)
        twin.bias.copy_(layer.bias.normal_(generator=draws(2)))
    x = torch.randn(2, 4, *[6] * len(layer.kernel_size), generator=draws(1))
    torch.testing.assert_close(layer(x), twin(x))
    torch.testing.assert_close(layer(x[0]), twin(x[0]), msg="one example without a batch")
    mapped = torch.func.vmap(lambda w: torch.func.functional_call(layer, {"weight": w}, (x,)))
    draws_of_weights = torch.stack([layer.weight, -layer.weight])
    torch.testing.assert_close(mapped(draws_of_weights)[0], layer(x))


def test_a_transposed_convolution_takes_an_output_size() -> None:
    layer = layers.BinaryConvTranspose2d(2, 3, 3, stride=2, generator=draws())
    assert layer(torch.ones(1, 2, 4, 4), output_size=[10, 10]).shape == (1, 3, 10, 10)


class Gate(nn.Module):
    """A layer of somebody else's, with a binary parameter."""

    binary_names = ("gate",)

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("name", ["segments.0.weight", "segments.1.gate"])
def test_nothing_but_signs_is_loaded_into_a_binary_parameter(name: str, assign: bool) -> None:
    model = Model([BinaryLinear(4, 4, bias=True), Gate()])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for wrong in (0.5, 0.0, float("nan")):
        state = {**before, "segments.0.bias": torch.ones(4), name: before[name] * wrong}
        with pytest.raises(UsageError, match=f"{name} is binary .* before bnnlab.binarize"):
            model.load_state_dict(state, assign=assign)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_nothing_but_signs_is_loaded_by_another_name_of_a_binary_parameter() -> None:
    gate, real = Gate(), nn.Linear(4, 4, bias=False)
    layer = BinaryLinear(4, 4)
    real.weight = layer.weight
    model = Model([gate, gate, layer, real])
    state = {key: value.clone() for key, value in model.state_dict().items()}
    for name in ("segments.1.gate", "segments.3.weight"):
        with pytest.raises(UsageError, match=f"{name} is binary"):
            model.load_state_dict({**state, name: state[name] / 2})
    assert all(p.abs().eq(1).all() for p in model.parameters())


def test_a_binary_layer_in_any_module_refuses_real_weights() -> None:
    net = nn.Sequential(BinaryLinear(4, 4))
    with pytest.raises(UsageError, match=r"0\.weight is binary"):
        net.load_state_dict(nn.Sequential(nn.Linear(4, 4, bias=False)).state_dict())


def test_signs_of_any_type_are_loaded_also_into_a_model_on_the_meta_device() -> None:
    model = Model([BinaryLinear(4, 4), Gate()])
    signs = {key: -value.detach() for key, value in model.state_dict().items()}
    model.load_state_dict({key: value.to(torch.int8) for key, value in signs.items()})
    assert torch.equal(model.state_dict()["segments.1.gate"], signs["segments.1.gate"])
    empty = Model([BinaryLinear(4, 4), Gate()]).to("meta")
    empty.load_state_dict(signs, assign=True)
    assert torch.equal(empty(torch.ones(1, 4)), model(torch.ones(1, 4)))
