"""Random feedback against a forward and backward pass written out in NumPy."""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import (
    Array,
    Back,
    conv,
    cross_entropy,
    hardtanh,
    linear,
    max_pool,
    normalise,
    sign,
)
from torch import Tensor, nn

from bnnlab import BatchNorm, BinaryConv2d, BinaryLinear, Model, Sign
from bnnlab.interfaces.batch import Batch, TaskLoss
from bnnlab.interfaces.objectives import ClassPerPosition
from bnnlab_dfa.drtp import DirectRandomTargetProjection
from bnnlab_dfa.feedback import RandomFeedback
from bnnlab_dfa.rule import DirectFeedbackAlignment
from bnnlab_testing.equations import apart, attached, draws, float64

STEPS = 20


# ------------------------------------------------------------- the two networks

Params = dict[str, Array]
Teach = Callable[[Array, Array], Array]


def error(e: Array, _: Array) -> Array:
    """What direct feedback alignment projects: the loss's gradient at the logits, (B, K)."""
    return e


def signs(e: Array, _: Array) -> Array:
    """What is projected with error=sign."""
    return np.sign(e) / len(e)


def target(_: Array, y: Array) -> Array:
    """What direct random target projection does: minus the one-hot target, over B."""
    return -np.eye(4)[y] / len(y)


def centred(_: Array, y: Array) -> Array:
    return -(np.eye(4)[y] - 1 / 4) / len(y)


def spread(signal: Array, h: Array) -> Array:
    """A number for every neuron, or one for each channel at all its positions."""
    if signal.shape[1] == h[0].size:
        return signal.reshape(h.shape)
    return np.broadcast_to(signal[:, :, None, None], h.shape)


def dense_model(norm: Literal["layer", "batch"]) -> Model:
    def make_norm(features: int) -> nn.Module:
        return nn.LayerNorm(features) if norm == "layer" else BatchNorm(features)

    g = draws(1)
    first = BinaryLinear(12, 9, bias=True, scale="learned", generator=g)
    second = BinaryLinear(9, 7, bias=True, scale="learned", generator=g)
    last = BinaryLinear(7, 4, bias=True, scale="learned", generator=g)
    model = Model(
        [
            nn.Sequential(first, make_norm(9), Sign()),
            nn.Sequential(second, make_norm(7), nn.Hardtanh()),
            last,
        ],
        input_shape=(12,),
    ).double()
    with torch.no_grad():  # nothing at its special starting value
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=g))
    return model


def dense_gradients(
    norm: Literal["layer", "batch"], p: Params, B: list[Array], x: Array, y: Array, teach: Teach
) -> tuple[float, Params]:
    axes = (1,) if norm == "layer" else (0,)
    gain, shift = ("weight", "bias") if norm == "layer" else ("gamma", "beta")
    grads: Params = {}

    def hidden(x: Array, at: str, act: Callable[[Array], tuple[Array, Back]]) -> Any:
        a, a_back = linear(x, p[f"{at}.0.weight"], p[f"{at}.0.scale"], p[f"{at}.0.bias"])
        n, n_back = normalise(a, axes, p[f"{at}.1.{gain}"], p[f"{at}.1.{shift}"])
        h, h_back = act(n)

        def back(d: Array) -> None:
            d, _ = h_back(d)
            d, of_norm = n_back(d)
            grads[f"{at}.1.{gain}"], grads[f"{at}.1.{shift}"] = of_norm["g"], of_norm["b"]
            _, of_linear = a_back(d)
            grads.update({f"{at}.0.{name}": value for name, value in of_linear.items()})

        return h, back

    h1, back1 = hidden(x, "segments.0", sign)
    h2, back2 = hidden(h1, "segments.1", hardtanh)
    at = "segments.2"
    logits, back3 = linear(h2, p[f"{at}.weight"], p[f"{at}.scale"], p[f"{at}.bias"])
    loss, e = cross_entropy(logits, y)
    _, of_last = back3(e)  # exact
    grads.update({f"{at}.{name}": value for name, value in of_last.items()})
    back1(teach(e, y) @ B[0])  # through fixed matrices, in place of W^T delta
    back2(teach(e, y) @ B[1])
    return loss, grads


def conv_model() -> Model:
    g = draws(1)
    return Model(
        [
            nn.Sequential(
                BinaryConv2d(1, 3, 3, padding=1, generator=g),
                nn.MaxPool2d(2),
                BatchNorm(3, affine=False),
                Sign(),
            ),
            nn.Sequential(BinaryConv2d(3, 4, 3, generator=g), nn.Hardtanh()),
            nn.Sequential(nn.Flatten(), BinaryLinear(16, 4, generator=g)),
        ],
        input_shape=(1, 8, 8),
    ).double()


def conv_gradients(
    p: Params, B: list[Array], x: Array, y: Array, teach: Teach
) -> tuple[float, Params]:
    one, zero = np.ones(1), np.zeros(1)
    a1, a1_back = conv(x, p["segments.0.0.weight"], 1 / math.sqrt(9), 1)
    m1, m1_back = max_pool(a1)
    n1, n1_back = normalise(m1, (0, 2, 3), one, zero)
    h1, h1_back = sign(n1)  # (N, 3, 4, 4)
    a2, a2_back = conv(h1, p["segments.1.0.weight"], 1 / math.sqrt(27), 0)
    h2, h2_back = hardtanh(a2)  # (N, 4, 2, 2)
    flat = h2.reshape(len(x), -1)
    logits, back3 = linear(flat, p["segments.2.1.weight"], np.full(4, 1 / math.sqrt(16)), zero)
    loss, e = cross_entropy(logits, y)
    _, of_last = back3(e)
    d1, _ = h1_back(spread(teach(e, y) @ B[0], h1))
    d1, _ = n1_back(d1)
    d1, _ = m1_back(d1)
    d2, _ = h2_back(spread(teach(e, y) @ B[1], h2))
    return loss, {
        "segments.0.0.weight": a1_back(d1)[1]["weight"],
        "segments.1.0.weight": a2_back(d2)[1]["weight"],
        "segments.2.1.weight": of_last["weight"],
    }


NETS: dict[str, tuple[Callable[[], Model], Callable[..., tuple[float, Params]]]] = {
    "dense with layer norm": (
        lambda: dense_model("layer"),
        lambda *given: dense_gradients("layer", *given),
    ),
    "dense with batch norm": (
        lambda: dense_model("batch"),
        lambda *given: dense_gradients("batch", *given),
    ),
    "convolution and pooling": (conv_model, conv_gradients),
}


RULES: dict[str, tuple[type[RandomFeedback], Teach, dict[str, Any]]] = {
    "dfa, normal": (DirectFeedbackAlignment, error, {}),
    "dfa, uniform": (DirectFeedbackAlignment, error, {"feedback": "uniform"}),
    "dfa, sign, recomputed": (
        DirectFeedbackAlignment, error, {"feedback": "sign", "recompute": True},
    ),
    "dfa per channel": (DirectFeedbackAlignment, error, {"per": "channel"}),
    "dfa leaking": (DirectFeedbackAlignment, error, {"skip": "leak"}),
    "sign-dfa": (DirectFeedbackAlignment, signs, {"error": "sign"}),
    "sign-dfa leaking": (DirectFeedbackAlignment, signs, {"error": "sign", "skip": "leak"}),
    "sign-dfa, recomputed": (
        DirectFeedbackAlignment, signs, {"error": "sign", "recompute": True},
    ),
    "drtp": (DirectRandomTargetProjection, target, {}),
    "drtp centred": (DirectRandomTargetProjection, centred, {"targets": "centred"}),
    "drtp per channel": (DirectRandomTargetProjection, target, {"per": "channel"}),
    "drtp, Kaiming, positive": (
        DirectRandomTargetProjection, target,
        {"feedback": "uniform", "fan": "in", "mean": 3**0.5},
    ),
    "drtp leaking": (DirectRandomTargetProjection, target, {"skip": "leak"}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("net", NETS)
def test_20_training_steps_agree_with_numpy(net: str, name: str) -> None:
    """Each side trains a network of its own: latent weights by plain gradient descent."""
    make, differentiate = NETS[net]
    kind, teach, options = RULES[name]
    model = make()
    rule = attached(kind(scale=1.7, **options), model)
    B = [float64(rule.get_buffer(f"B{number}")) for number in (1, 2)]
    binary = model.binary_parameters()
    sizes = {
        name: 0.05 * torch.rand(p.shape, generator=draws(5), dtype=torch.float64)
        for name, p in model.named_parameters()
    }
    latents = {name: p.detach() * sizes[name] for name, p in binary.items()}
    theirs = {
        name: float64(latents[name] if name in binary else p)
        for name, p in model.named_parameters()
    }
    assert model.input_shape is not None
    for step in range(STEPS):
        x = torch.randn(6, *model.input_shape, generator=draws(100 + step), dtype=torch.float64)
        y = torch.randint(0, 4, (6,), generator=draws(200 + step))
        loss = rule.closure(model, (x, y))()
        p = {k: np.where(v >= 0, 1.0, -1.0) if k in binary else v for k, v in theirs.items()}
        wanted, grads = differentiate(p, B, float64(x), y.numpy(), teach)
        assert loss.item() == pytest.approx(wanted, rel=1e-9)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                assert parameter.grad is not None
                found = float64(parameter.grad)
                # A normalised layer's bias has no gradient; what is left of it is rounding.
                np.testing.assert_allclose(found, grads[key], rtol=1e-7, atol=1e-12, err_msg=key)
                theirs[key] = theirs[key] - 0.1 * grads[key]
                value = latents.get(key, parameter)
                value -= 0.1 * parameter.grad
                if key in binary:
                    parameter.copy_(torch.where(value >= 0, 1.0, -1.0))
    for key, parameter in model.named_parameters():
        found = float64(latents.get(key, parameter))
        assert apart(found, theirs[key]) < 1e-5, key


# ------------------------------------------------------------- against backpropagation


def test_with_the_transposed_weights_as_feedback_a_linear_network_gets_exact_gradients() -> None:
    g = draws(1)
    first, second = BinaryLinear(8, 16, generator=g), BinaryLinear(16, 4, generator=g)
    model = Model([first, second], input_shape=(8,))
    rule = attached(DirectFeedbackAlignment(), model)
    rule.get_buffer("B1").copy_(second.weight.detach() * 0.25)  # the fan-in scale, 1 / sqrt(16)
    x, y = torch.randn(10, 8, generator=g), torch.randint(0, 4, (10,), generator=g)
    rule.closure(model, (x, y))()
    exact = torch.autograd.grad(F.cross_entropy(model(x), y), [first.weight, second.weight])
    for layer, wanted in zip((first, second), exact, strict=True):
        assert layer.weight.grad is not None
        torch.testing.assert_close(layer.weight.grad, wanted, rtol=0, atol=1e-7)


def test_nothing_reaches_an_earlier_segment_through_a_later_one() -> None:
    """With no feedback onto it a hidden segment has no gradient, however it is used later."""
    model = dense_model("batch")
    rule = attached(DirectFeedbackAlignment(), model)
    rule.get_buffer("B1").zero_()
    x, y = torch.randn(6, 12, generator=draws(0), dtype=torch.float64), torch.arange(6) % 4
    rule.closure(model, (x, y))()
    for parameter in model.segments[0].parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()
    assert all(p.grad is not None and p.grad.any() for p in model.segments[2].parameters())


def test_a_segment_without_parameters_is_passed_through() -> None:
    model = Model([nn.Flatten(), BinaryLinear(9, 5), BinaryLinear(5, 3)], input_shape=(1, 3, 3))
    rule = attached(DirectFeedbackAlignment(), model)
    loss = rule.closure(model, (torch.ones(2, 1, 3, 3), torch.tensor([0, 1])))()
    assert loss.isfinite()
    assert all(p.grad is not None for p in model.parameters())


def test_signs_count_as_the_losses_do_of_which_the_mean_is_taken() -> None:
    """Each row of a part over the size of its part, and each position over that of all."""

    class OfParts(TaskLoss):
        def mean_rows(self, rows: int) -> Tensor:
            return torch.tensor([1] + [rows - 1] * (rows - 1))

    rule = DirectFeedbackAlignment(error="sign")
    seen: list[Tensor] = []
    rule.project = lambda _, e, output: seen.append(e) or torch.zeros_like(output)  # type: ignore
    flat = Model([nn.Linear(4, 5), nn.Linear(5, 3)], input_shape=(4,))
    attached(rule, flat)
    rule.closure(flat, Batch(torch.randn(3, 4), torch.arange(3), OfParts()))()
    positions = Model([nn.Linear(4, 5), nn.Linear(5, 3)], input_shape=(2, 4))
    attached(rule, positions)
    targets = torch.tensor([[0, 1], [2, 0], [1, 1]])
    loss = TaskLoss(ClassPerPosition())
    rule.closure(positions, Batch(torch.randn(3, 2, 4), targets, loss))()
    assert seen[0].abs().tolist() == [[1.0] * 3] + [[0.5] * 3] * 2
    torch.testing.assert_close(seen[1].abs(), torch.full((3, 2, 3), 1 / 6))


# ------------------------------------------------------------- skip connections


class Residual(nn.Module):
    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = nn.Sequential(BinaryLinear(6, 6, generator=generator), nn.Hardtanh())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.inner(x)
        return y


def residual_model() -> Model:
    g = draws(1)
    first, last = BinaryLinear(12, 6, generator=g), BinaryLinear(6, 4, generator=g)
    return Model([nn.Sequential(first, Sign()), Residual(g), last], input_shape=(12,)).double()


@pytest.mark.parametrize("name", ["dfa, normal", "drtp"])
@pytest.mark.parametrize("skip", ["cut", "leak"])
def test_a_skip_connection_is_cut_or_leaks(name: str, skip: str) -> None:
    kind, teach, _ = RULES[name]
    model = residual_model()
    rule = attached(kind(skip=skip), model)
    x, y = torch.randn(6, 12, generator=draws(0), dtype=torch.float64), torch.arange(6) % 4
    rule.closure(model, (x, y))()

    W1, W2, W3 = (float64(p) for p in model.parameters())
    B1, B2 = (float64(rule.get_buffer(name)) for name in ("B1", "B2"))
    x1, s1, s2, nothing = float64(x), np.full(6, 12**-0.5), np.full(6, 6**-0.5), np.zeros(1)
    a1, a1_back = linear(x1, W1, s1, nothing)
    h1, h1_back = sign(a1)
    a2, a2_back = linear(h1, W2, s2, nothing)
    inner, inner_back = hardtanh(a2)
    logits, out_back = linear(h1 + inner, W3, s2[:4], nothing)
    _, e = cross_entropy(logits, y.numpy())
    signal = teach(e, y.numpy())
    identity = signal @ B2 if skip == "leak" else 0  # what goes round the block
    wanted = [
        a1_back(h1_back(signal @ B1 + identity)[0])[1]["weight"],
        a2_back(inner_back(signal @ B2)[0])[1]["weight"],
        out_back(e)[1]["weight"],
    ]
    for parameter, each in zip(model.parameters(), wanted, strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(float64(parameter.grad), each, rtol=1e-9, atol=1e-12)


def test_feedback_onto_a_convolution_has_a_number_for_every_neuron() -> None:
    rule = attached(DirectFeedbackAlignment(), conv_model())
    assert rule.get_buffer("B1").shape == (4, 3 * 4 * 4)
    assert rule.get_buffer("B2").shape == (4, 4 * 2 * 2)
