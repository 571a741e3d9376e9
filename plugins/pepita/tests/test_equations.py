"""PEPITA and signal propagation against both passes written out in NumPy."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pepita_nets import arbitrary, gradients, noise_for
from torch import Tensor, nn

from bnnlab import BatchNorm, BinaryConv2d, BinaryLinear, Model, Sign
from bnnlab_pepita.rule import InputModulation
from bnnlab_testing.equations import Array, apart, attached, draws, float64

# ------------------------------------------------------------- the transcription's parts
# A layer returns its output; a `Trace` notes what it was given and how its parameters learn.


class Trace:
    """One pass: for each weight layer its name, input, gradients given d, and activity."""

    def __init__(
        self, p: dict[str, Array], statistics: Iterator[Any] | None = None, power: float = 0.0
    ) -> None:
        self.p, self.layers, self.power = p, [], power
        self.given, self.statistics = statistics, []

    def linear(self, name: str, x: Array) -> Array:
        W, b, s = (self.p.get(f"{name}.{part}") for part in ("weight", "bias", "scale"))
        s = np.ones(len(W)) if s is None else s

        def learn(x: Array, d: Array) -> dict[str, Array]:
            d = d / math.prod(d.shape[1:-1]) ** self.power
            x, d = x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1])  # tokens are summed
            return {"weight": (d * s).T @ x, "scale": (d * (x @ W.T)).sum(0), "bias": d.sum(0)}

        self.layers.append([name, x, learn, None])
        return s * (x @ W.T) + (0 if b is None else b)

    def conv(self, name: str, x: Array, padding: int, stride: int, groups: int, s: float) -> Array:
        W = self.p[f"{name}.weight"]
        k, outputs, inputs = W.shape[-1], len(W) // groups, W.shape[1]

        def windows(x: Array) -> Iterator[tuple[int, int, int, int, int, Array]]:
            x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
            H, V = ((n - k) // stride + 1 for n in x.shape[2:])
            for o in range(len(W)):
                for c in range(inputs):
                    for u in range(k):
                        for v in range(k):
                            part = x[:, o // outputs * inputs + c, u:, v:]
                            yield o, c, u, v, H, part[:, ::stride, ::stride][:, :H, :V]

        def learn(x: Array, d: Array) -> dict[str, Array]:
            d = d / math.prod(d.shape[2:]) ** self.power
            dW = np.zeros_like(W)
            for o, c, u, v, _, part in windows(x):
                dW[o, c, u, v] = s * (d[:, o] * part).sum()
            return {"weight": dW, "bias": d.sum((0, 2, 3))}

        self.layers.append([name, x, learn, None])
        y: Any = [0.0] * len(W)
        for o, c, u, v, _, part in windows(x):
            y[o] = y[o] + s * W[o, c, u, v] * part
        b = self.p.get(f"{name}.bias")
        return np.stack(y, 1) + (0 if b is None else b[:, None, None])

    def is_activity(self, h: Array) -> Array:
        self.layers[-1][3] = h
        return h

    def batch_norm(self, x: Array, g: Array | float = 1.0, b: Array | float = 0.0) -> Array:
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        if self.given is None:
            self.statistics.append((x.mean(axes, keepdims=True), x.var(axes, keepdims=True)))
            mean, variance = self.statistics[-1]
        else:
            mean, variance = next(self.given)  # those of the clean pass
        return g * (x - mean) / np.sqrt(variance + 1e-5) + b


def layer_norm(x: Array) -> Array:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def sign(x: Array) -> Array:
    return np.where(x >= 0, 1.0, -1.0)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def softmax(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


def max_pool(x: Array) -> Array:
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


def two_passes(
    net: Callable[[Trace, Array], Array],
    p: dict[str, Array],
    modulate: Array,
    x: Array,
    y: Array,
    kind: str,
    error: Callable[[Array], Array] = lambda e: e,
    power: float = 0.0,
) -> tuple[float, dict[str, Array]]:
    """Return the clean loss and all weight layers' gradients; `modulate` is the gain times F."""
    clean = Trace(p, power=power)
    logits = net(clean, x)
    likely = softmax(logits)
    e = likely - np.eye(logits.shape[1])[y]  # not divided by the batch
    modulated = Trace(p, iter(clean.statistics), power)
    net(modulated, x + (error(e) @ modulate.T).reshape(x.shape))
    found = {}
    for (name, x0, learn, h0), (_, x1, _, h1) in zip(clean.layers, modulated.layers, strict=True):
        d = e if name == clean.layers[-1][0] else h0 - h1
        for part, grad in learn(x0 if kind == "clean" else x1, d).items():
            if f"{name}.{part}" in p:
                found[f"{name}.{part}"] = grad / len(x)
    return float(-np.log(likely[np.arange(len(y)), y]).mean()), found


# ------------------------------------------------------------- the networks


def dense(norm: str) -> Model:
    g = draws(1)
    between = nn.LayerNorm(7, elementwise_affine=False) if norm == "layer" else BatchNorm(7)
    return arbitrary(
        BinaryLinear(12, 9, bias=True, scale="learned", generator=g),
        nn.BatchNorm1d(9) if norm == "batch" else nn.Identity(),
        Sign(),
        nn.Linear(9, 7),
        between,
        nn.Tanh(),
        nn.Linear(7, 4, bias=False),
        shape=(12,),
    )


def dense_in_numpy(norm: str) -> Callable[[Trace, Array], Array]:
    def net(trace: Trace, x: Array) -> Array:
        p, layers = trace.p, norm == "layer"
        a = trace.linear("segments.0", x)
        a = a if layers else trace.batch_norm(a, p["segments.1.weight"], p["segments.1.bias"])
        h = trace.is_activity(sign(a))
        a = trace.linear("segments.3", h)
        a = (
            layer_norm(a)
            if layers
            else trace.batch_norm(a, p["segments.4.gamma"], p["segments.4.beta"])
        )
        h = trace.is_activity(np.tanh(a))
        return trace.linear("segments.6", h)

    return net


def conv() -> Model:
    """Pooling, a depthwise, and a grouped strided convolution with its own output as activity."""
    g = draws(1)
    return arbitrary(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Hardtanh(),
        BinaryConv2d(4, 6, 3, stride=2, groups=2, generator=g),
        nn.MaxPool2d(2),
        nn.ReLU(),  # its shape is not the layer's
        nn.Flatten(),
        nn.Linear(6, 3),
        shape=(2, 12, 12),
    )


def conv_in_numpy(trace: Trace, x: Array) -> Array:
    a = trace.batch_norm(trace.conv("segments.0", x, 1, 1, 1, 1.0))
    h = max_pool(trace.is_activity(relu(a)))
    h = trace.is_activity(np.clip(trace.conv("segments.4", h, 1, 1, 4, 1.0), -1, 1))
    a = trace.is_activity(trace.conv("segments.6", h, 0, 2, 2, 1 / math.sqrt(18)))
    return trace.linear("segments.10", relu(max_pool(a)).reshape(len(x), -1))


class Blocks(nn.Module):
    """Tokens (B, T, 5): an in-place residual block, then their mean; one activation for all."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ELU(inplace=True)
        self.embed, self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 8)
        self.mixed, self.head = nn.Linear(4, 4, bias=False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.embed(x))
        x = x + self.second(self.act(self.first(x)))
        x = self.act(self.mixed(x.mT).mT + x)
        return torch.as_tensor(self.head(x.mean(1)))


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def blocks_in_numpy(trace: Trace, x: Array) -> Array:
    x = trace.is_activity(elu(trace.linear("segments.0.embed", x)))
    h = trace.is_activity(elu(trace.linear("segments.0.first", x)))
    x = x + trace.is_activity(trace.linear("segments.0.second", h))
    mixed = trace.is_activity(trace.linear("segments.0.mixed", x.transpose(0, 2, 1)))
    x = elu(mixed.transpose(0, 2, 1) + x)  # (B, T, 8), and the layer's output is (B, 8, T)
    return trace.linear("segments.0.head", x.mean(1))


NETS: dict[str, tuple[Callable[[], Model], Callable[[Trace, Array], Array]]] = {
    "dense with layer norm": (lambda: dense("layer"), dense_in_numpy("layer")),
    "dense with batch norm": (lambda: dense("batch"), dense_in_numpy("batch")),
    "convolutions": (conv, conv_in_numpy),
    "tokens and skips": (
        lambda: arbitrary(Blocks(), shape=(4, 5)),
        blocks_in_numpy,
    ),
}


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "usual": ({}, {}),
    "sign": ({"error": "sign"}, {"error": np.sign}),
    "mean": ({"positions": "mean"}, {"power": 1.0}),
    "root": ({"positions": "root"}, {"power": 0.5}),
}
"""Options, and what they are in the transcription."""


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["modulated", "clean"])
@pytest.mark.parametrize("net", NETS)
def test_gradients_agree_with_numpy(net: str, kind: Any, variant: str) -> None:
    make, transcription = NETS[net]
    options, otherwise = VARIANTS[variant]
    model = make()
    rule = attached(InputModulation(kind, gain=30.0, decay=0.5, **options), model)
    p = {name: float64(parameter) for name, parameter in model.named_parameters()}
    for step in range(1, 4):
        x, y = noise_for(model, step, 30)
        loss = rule.closure(model, (x, y))()
        modulate = 30.0 * 0.5**step * float64(rule.F)
        wanted, grads = two_passes(
            transcription, p, modulate, float64(x), y.numpy(), kind, **otherwise
        )
        assert loss.item() == pytest.approx(wanted, rel=1e-9)
        found = gradients(model)
        assert found.keys() == grads.keys()  # norms learn nothing
        for name, grad in grads.items():
            assert np.abs(grad).max() > 1e-6, name
            assert apart(float64(found[name]), grad) < 1e-6, name


def test_a_projection_from_0_on_is_half_the_gain() -> None:
    """The authors' code may draw F in [0, f); e sums to 0, so what all classes have cancels."""
    model = dense("layer")
    rule = attached(InputModulation("modulated", gain=20.0), model)
    x, y = noise_for(model, 1, 8)
    rule.closure(model, (x, y))()
    positive = float64(rule.F) + 0.05 * math.sqrt(6 / 12)
    assert positive.min() >= 0
    p = {name: float64(parameter) for name, parameter in model.named_parameters()}
    net = dense_in_numpy("layer")
    _, wanted = two_passes(net, p, 20.0 * positive, float64(x), y.numpy(), "modulated")
    for name, grad in gradients(model).items():
        np.testing.assert_allclose(float64(grad), wanted[name], rtol=1e-6, atol=1e-12)


# ------------------------------------------------------------- where this differs


def small_conv() -> Model:
    """The paper's kind of network: real weights without biases, ReLU, pooling after it."""
    return arbitrary(
        nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12, 6, bias=False), nn.ReLU(), nn.Linear(6, 4, bias=False),
        shape=(2, 6, 6),
    )  # fmt: skip


def small_conv_in_numpy(trace: Trace, x: Array) -> Array:
    h = max_pool(trace.is_activity(relu(trace.conv("segments.0", x, 0, 1, 1, 1.0))))
    h = trace.is_activity(relu(trace.linear("segments.4", h.reshape(len(x), -1))))
    return trace.linear("segments.6", h)


def test_the_published_update_of_convolutions_is_opposite_and_over_the_batch_twice() -> None:
    """What the authors' main_pytorch.py and models.py add to the weights, with lr = 1."""
    model = small_conv()
    rule = attached(InputModulation("modulated", gain=20.0, positions="mean"), model)
    x, y = noise_for(model, 1, 8)
    rule.closure(model, (x, y))()
    ours = {name: float64(grad) for name, grad in gradients(model).items()}

    p = {name: float64(parameter) for name, parameter in model.named_parameters()}
    clean, modulated, B = Trace(p), Trace(p), len(x)
    onehot = np.eye(4)[y.numpy()]
    e = softmax(small_conv_in_numpy(clean, float64(x))) - onehot
    shift = (e @ (20.0 * float64(rule.F)).T).reshape(x.shape)
    e_modulated = softmax(small_conv_in_numpy(modulated, float64(x) + shift)) - onehot
    (_, x1, _, h1), (_, x2, _, h2), (_, x3, _, _) = modulated.layers
    d1, d2 = (layer[3] - h for layer, h in zip(clean.layers, (h1, h2), strict=False))

    conv = np.zeros_like(p["segments.0.weight"])
    for i in range(4):
        for j in range(4):
            window = x1[:, :, i : i + 3, j : j + 3]
            conv += np.einsum("bo,bcuv->ocuv", d1[:, :, i, j], window) / B / 4**2 / B
    hidden, last = -d2.T @ x2 / B, -e_modulated.T @ x3 / B

    np.testing.assert_allclose(conv, +ours["segments.0.weight"] / B, rtol=1e-9)
    np.testing.assert_allclose(hidden, -ours["segments.4.weight"], rtol=1e-9)
    # The output layer learns there from the error after the second pass, here from that before.
    difference = -(e_modulated - e).T @ x3 / B
    np.testing.assert_allclose(last, -ours["segments.6.weight"] + difference, rtol=1e-9, atol=1e-14)
    assert np.abs(difference).max() > 1e-3 * np.abs(last).max()
