"""Training by each rule against forward, backward and feedback written out in NumPy."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import (
    Array,
    Back,
    conv,
    cross_entropy,
    flat,
    hardtanh,
    linear,
    max_pool,
    normalise,
    sign,
)
from torch import nn

import bnnlab
from bnnlab import BatchNorm, BinaryConv2d, BinaryLinear, Model, Sign
from bnnlab_feedback.alignment import FeedbackAlignment
from bnnlab_feedback.kolen_pollack import KolenPollack
from bnnlab_feedback.rule import FeedbackRule, key
from bnnlab_feedback.sign_symmetric import SignSymmetry
from bnnlab_testing.equations import attached, draws, float64

STEPS = 20

Arrays = dict[str, Array]
Part = Callable[[Array], tuple[Array, Back]]

# ------------------------------------------------------------- two networks


def dense_model() -> Model:
    g = draws(1)
    return Model(
        [
            nn.Sequential(BinaryLinear(12, 9, bias=True, generator=g), nn.LayerNorm(9), Sign()),
            nn.Sequential(nn.Linear(9, 8), nn.Hardtanh()),
            nn.Sequential(BinaryLinear(8, 7, bias=True, scale="learned", generator=g), Sign()),
            nn.Sequential(BinaryLinear(7, 4, bias=True, scale="learned", generator=g)),
        ],
        input_shape=(12,),
    )


def dense_parts(p: Arrays, B: Arrays) -> list[Part]:
    gain, shift = (p[f"segments.0.1.{name}"] for name in ("weight", "bias"))

    def norm(x: Array) -> tuple[Array, Back]:
        y, back = normalise(x, (1,), gain, shift)

        def named(d: Array) -> tuple[Array, Arrays]:
            found, of = back(d)
            return found, {"segments.0.1.weight": of["g"], "segments.0.1.bias": of["b"]}

        return y, named

    first = weigh(p, B, "0.0", 1 / math.sqrt(12))
    return [
        *(first, norm, sign),
        *(weigh(p, B, "1.0", 1), hardtanh),
        *(weigh(p, B, "2.0", 1), sign),
        weigh(p, B, "3.0", 1),
    ]


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
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Hardtanh()),
            nn.Sequential(BinaryConv2d(4, 4, 3, generator=g), nn.Hardtanh(), nn.Flatten()),
            nn.Sequential(BinaryLinear(16, 4, generator=g)),
        ],
        input_shape=(1, 8, 8),
    )


def conv_parts(p: Arrays, B: Arrays) -> list[Part]:
    return [
        *(weigh(p, B, "0.0", 1 / 3, 1), max_pool, lambda x: normalise(x, (0, 2, 3)), sign),
        *(weigh(p, B, "1.0", 1, 1), hardtanh),
        *(weigh(p, B, "2.0", 1 / 6), hardtanh, flat),
        weigh(p, B, "3.0", 1 / 4),
    ]


def weigh(p: Arrays, B: Arrays, at: str, scale: float, padding: int = 0) -> Part:
    """Return a layer whose error goes back through B, if there is one for it."""
    name = f"segments.{at}"
    W = p[f"{name}.weight"]
    s = p.get(f"{name}.scale", np.full(len(W), scale))
    b = p.get(f"{name}.bias", np.zeros(1))

    def part(x: Array) -> tuple[Array, Back]:
        def run(V: Array) -> tuple[Array, Back]:
            return conv(x, V, scale, padding) if V.ndim == 4 else linear(x, V, s, b)

        y, own = run(W)
        _, other = run(B.get(name, W))

        def back(d: Array) -> tuple[Array, Arrays]:
            return other(d)[0], {f"{name}.{key}": each for key, each in own(d)[1].items()}

        return y, back

    return part


def gradients(parts: Sequence[Part], x: Array, y: Array) -> tuple[float, Arrays]:
    backs, grads = [], Arrays()
    for part in parts:
        x, back = part(x)
        backs.append(back)
    loss, d = cross_entropy(x, y)
    for back in reversed(backs):
        d, found = back(d)
        grads |= found
    return loss, grads


NETS: dict[str, tuple[Callable[[], Model], Callable[[Arrays, Arrays], list[Part]]]] = {
    "dense": (dense_model, dense_parts),
    "convolutional": (conv_model, conv_parts),
}


def make(net: str) -> Model:
    """Make a network in which nothing has its special starting value."""
    model = NETS[net][0]().double()
    binary = model.binary_parameters()
    with torch.no_grad():
        for seed, (name, parameter) in enumerate(model.named_parameters()):
            if name not in binary:
                noise = torch.randn(parameter.shape, generator=draws(seed), dtype=torch.float64)
                is_gain = parameter.ndim == 1 and not name.endswith("bias")
                parameter.copy_(0.3 * noise + is_gain)
    return model


# ------------------------------------------------------------- the feedback of each rule


class Fixed:
    """B as it was drawn."""

    def __init__(self, kept: Arrays, binary: set[str]) -> None:
        self.kept, self.binary = kept, binary

    def feedback(self, p: Arrays) -> Arrays:
        return self.kept

    def learn(self, grads: Arrays) -> None:
        """Learn nothing."""


class Signs(Fixed):
    """M o sign(W), with M as it was drawn, or a number."""

    def feedback(self, p: Arrays) -> Arrays:
        signs = {at: np.where(p[f"{at}.weight"] >= 0, 1.0, -1.0) for at in self.kept}
        return {at: M * signs[at] for at, M in self.kept.items()}


class Learned(Fixed):
    """B, in binary layers its signs; B <- (1 - decay) B - rate G after each step."""

    def feedback(self, p: Arrays) -> Arrays:
        signs = {at: np.where(B >= 0, 1.0, -1.0) for at, B in self.kept.items()}
        return {at: signs[at] if at in self.binary else B for at, B in self.kept.items()}

    def learn(self, grads: Arrays) -> None:
        for at, B in self.kept.items():
            self.kept[at] = (1 - 0.03) * B - 0.2 * grads[f"{at}.weight"]


RULES: dict[str, tuple[Callable[[], FeedbackRule], type[Fixed]]] = {
    "fa": (FeedbackAlignment, Fixed),
    "fa, uniform": (lambda: FeedbackAlignment("uniform", 0.7), Fixed),
    "fa, sign": (lambda: FeedbackAlignment("sign"), Fixed),
    "frSF": (SignSymmetry, Signs),
    "uSF": (lambda: SignSymmetry("uniform", 0.7), Signs),
    "kolen-pollack": (lambda: KolenPollack(0.2, 0.03), Learned),
}


@pytest.mark.parametrize("which", RULES)
@pytest.mark.parametrize("net", NETS)
def test_20_training_steps_agree_with_numpy(net: str, which: str) -> None:
    """Each side trains a network of its own: latent weights by plain gradient descent."""
    make_rule, transcription = RULES[which]
    model = make(net)
    rule = attached(make_rule(), model)
    assert len(rule.layers) == 3  # all but the first, which reads the inputs
    kept = {at: float64(rule.get_buffer(key(at))) for at in rule.layers}
    theirs = transcription(kept, {at for at, binary in rule.layers.items() if binary})
    signs = model.binary_parameters()
    latents = {
        name: p.detach() * 0.05 * torch.rand(p.shape, generator=draws(5), dtype=torch.float64)
        for name, p in signs.items()
    }
    values = {name: float64(latents.get(name, p)) for name, p in model.named_parameters()}
    assert model.input_shape is not None
    for step in range(STEPS):
        x = torch.randn(6, *model.input_shape, generator=draws(100 + step), dtype=torch.float64)
        y = torch.randint(0, 4, (6,), generator=draws(200 + step))
        loss = rule.closure(model, (x, y))()
        p = {k: np.where(v >= 0, 1.0, -1.0) if k in signs else v for k, v in values.items()}
        parts = NETS[net][1](p, theirs.feedback(p))
        wanted, grads = gradients(parts, float64(x), y.numpy())
        assert loss.item() == pytest.approx(wanted, rel=1e-9)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None
                found = float64(parameter.grad)
                np.testing.assert_allclose(found, grads[name], rtol=1e-7, atol=1e-12, err_msg=name)
                values[name] = values[name] - 0.1 * grads[name]
                value = latents.get(name, parameter)
                value -= 0.1 * parameter.grad
                if name in signs:
                    parameter.copy_(torch.where(value >= 0, 1.0, -1.0))
        theirs.learn(grads)
    rule.step_started()  # what the last step has left to learn
    for at, B in theirs.kept.items():
        found = float64(rule.get_buffer(key(at)))
        np.testing.assert_allclose(found, B, rtol=1e-7, atol=1e-12, err_msg=at)


# ------------------------------------------------------------- Kolen-Pollack: W - B


@pytest.mark.parametrize("net", NETS)
def test_under_sgd_of_equal_rate_and_decay_w_minus_b_falls_by_a_factor_in_each_step(
    net: str,
) -> None:
    """Here W is the latent weight, where it is binary."""
    rate, decay, steps = 0.1, 0.05, 30
    model = make(net)
    assert model.input_shape is not None
    rule = attached(KolenPollack(rate, decay), model)
    options: dict[str, Any] = {"lr": rate, "weight_decay": decay / rate, "momentum": 0.0}
    sgd = bnnlab.create("optimizer", "sgd", model, latent_clip=None, **options)

    def differences() -> Arrays:
        rule.step_started()  # what the last step has left to learn
        weights = {at: sgd.latent(model.get_parameter(f"{at}.weight")) for at in rule.layers}
        return {at: float64(w - rule.get_buffer(key(at))) for at, w in weights.items()}

    before = differences()
    for step in range(steps):
        x = torch.randn(6, *model.input_shape, generator=draws(step), dtype=torch.float64)
        sgd.step(rule.closure(model, (x, torch.arange(6) % 4)))
    for at, after in differences().items():
        wanted = (1 - decay) ** steps * before[at]
        np.testing.assert_allclose(after, wanted, rtol=1e-9, atol=1e-12, err_msg=at)
