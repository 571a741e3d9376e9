"""The general convolutional network against its definition, and the published ones it can be."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bnnlab
from bnnlab import UsageError
from bnnlab.nn.dropout import Dropout
from bnnlab_convnets.convnet import ConvNet
from bnnlab_testing.equations import draws

Array = np.ndarray


def make(shape: tuple[int, ...] = (3, 9, 8), **options: Any) -> ConvNet:
    return ConvNet(input_shape=shape, classes=5, generator=draws(1), **options)


def convolved(x: Array, W: Array, stride: int, padding: int) -> Array:
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    windows = np.lib.stride_tricks.sliding_window_view(x, W.shape[2:], axis=(2, 3))
    return np.einsum("bcijkl,ockl->boij", windows[:, :, ::stride, ::stride], W)


def pooled(x: Array, kind: str) -> Array:
    rows, columns = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    squares = [x[:, :, i:rows:2, j:columns:2] for i in (0, 1) for j in (0, 1)]
    return {"max": np.max, "avg": np.mean}[kind](squares, axis=0)


def normalised(x: Array, norm: str) -> Array:
    maps = x.reshape(len(x), 2, -1) if norm == "group" else x
    axis = {"batch": (0, *range(2, x.ndim)), "layer": tuple(range(1, x.ndim)), "group": 2}[norm]
    maps = maps - maps.mean(axis, keepdims=True)
    return (maps / np.sqrt((maps**2).mean(axis, keepdims=True) + 1e-5)).reshape(x.shape)


@pytest.mark.parametrize("weights", ["binary", "real"])
@pytest.mark.parametrize("norm", ["batch", "layer", "group", "none"])
def test_logits_are_those_of_the_definition(norm: Any, weights: Any) -> None:
    kernel, stride, padding = [3, 2, 3], [1, 2, 1], [1, 0, 2]
    pooling: Any = ["max", "none", "avg"]
    model = make(channels=[4, 6, 4], kernel=kernel, stride=stride, padding=padding,
                 pooling=pooling, hidden=[8], norm=norm, groups=2, weights=weights,
                 activation="tanh").double()  # fmt: skip
    x = torch.randn(4, 3, 9, 8, generator=draws(2)).double()
    layers = [p.detach().numpy() for p in model.parameters()]
    if weights == "binary":
        layers = [W / np.sqrt(W[0].size) for W in layers]
    h = x.numpy()
    for W, by, edge, pool in zip(layers[:3], stride, padding, pooling, strict=True):
        h = convolved(h, W, by, edge)
        h = h if pool == "none" else pooled(h, pool)
        h = np.tanh(h if norm == "none" else normalised(h, norm))
    z = h.reshape(4, -1) @ layers[3].T
    h = np.tanh(z if norm == "none" else normalised(z, norm))
    np.testing.assert_allclose(model(x).detach(), h @ layers[4].T, rtol=1e-9, atol=1e-12)
    assert len(model.segments) == 5


PUBLISHED: dict[str, tuple[tuple[int, ...], dict[str, Any], int]] = {
    "LRNetSmall of Meng and others": (
        (1, 28, 28),
        {"channels": [32, 64], "kernel": 5, "padding": 2, "hidden": [512], "activation": "relu",
         "output_norm": True, "norm_momentum": 0.15},
        32 * 25 + 64 * 32 * 25 + 3136 * 512 + 512 * 10,
    ),
    "LRNetBig of Meng and others": (
        (3, 32, 32),
        {"channels": [128, 128, 256, 256, 512, 512], "pooling": ["none", "max"] * 3,
         "hidden": [1024], "activation": "relu", "block_norm": False, "output_norm": True},
        12_973_440,
    ),
    "VGG of Laborieux and others' stream": (
        (3, 32, 32),
        {"channels": [128, 128, 256, 256, 512, 512], "padding": [1, 1, 1, 1, 1, 0],
         "pooling": ["none", "max"] * 3, "hidden": [2048, 2048], "activation": "hardtanh",
         "affine": True, "dropout": 0.5, "output_norm": True, "init": "xavier-normal"},
        9 * (3 * 128 + 128**2 + 128 * 256 + 256**2 + 256 * 512 + 512**2)
        + 4608 * 2048 + 2048**2 + 2048 * 10,
    ),
    "two convolutions of Laborieux and others": (
        (1, 28, 28),
        {"channels": [32, 64], "kernel": [5, 4], "stride": 2, "padding": 2, "pooling": "none",
         "hidden": [], "affine": True, "output_norm": True},
        32 * 25 + 64 * 32 * 16 + 4096 * 10,
    ),
    "MNIST and USPS of Laborieux and others": (
        (1, 28, 28),
        {"channels": [12, 20, 30], "kernel": 4, "pooling": "avg", "hidden": [],
         "output_norm": True},
        16 * (12 + 12 * 20 + 20 * 30) + 30 * 4 * 10,
    ),
    "CONV_32_5_1_2 of Frenkel and others": (
        (1, 28, 28),
        {"channels": [32], "kernel": 5, "padding": 2, "hidden": [1000], "activation": "tanh",
         "norm": "none", "weights": "real"},
        32 * 25 + 6272 * 1000 + 1000 * 10,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_their_number_of_weights(name: str) -> None:
    shape, options, count = PUBLISHED[name]
    model = ConvNet(input_shape=shape, classes=10, generator=draws(), **options)
    assert sum(p.numel() for p in model.parameters() if p.ndim > 1) == count


def test_each_part_has_its_dropout_and_normalisation() -> None:
    model = make(channels=[4], hidden=[6], dropout=0.5, block_dropout=0.1, block_norm=False)
    assert [part.rate for part in model.modules() if isinstance(part, Dropout)] == [0.1, 0.5]
    kinds = ["".join(type(part).__name__[:2] for part in segment) for segment in model.segments]
    assert kinds == ["BiMaSiDr", "FlBiBaSiDr", "Bi"]


@pytest.mark.parametrize(("shape", "options", "words"), [
    ((64,), {}, r"takes images \(C, H, W\), and inputs are \(64,\)"),
    ((1, 4, 4), {"channels": [4, 4, 4]}, "block 3 leaves nothing of images"),
    ((1, 8, 8), {"kernel": [3, 3, 3]}, "model.kernel: 3 values"),
    ((1, 8, 8), {"norm": "group"}, "model.groups: 32 groups .* 4 units"),
])  # fmt: skip
def test_what_cannot_be_is_refused(shape: Any, options: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(shape, **{"channels": [4, 4], **options})


@pytest.mark.parametrize("activation", ["sign", "gate", "reverse-binary-gate"])
def test_bimu_learns_two_steps_of_it(activation: str) -> None:
    given = {"input_shape": (1, 8, 8), "classes": 3}
    model = bnnlab.create("model", "convnet", channels=[6], hidden=[8], norm="layer",
                          activation=activation, output_norm=True, **given)  # fmt: skip
    rule = bnnlab.create("rule", "bp", model)
    optimizer = bnnlab.create("optimizer", "bimu", model, train_draws=3)
    x, y = torch.randn(6, 1, 8, 8, generator=draws()), torch.arange(6) % 3
    before = {name: optimizer.state[p] for name, p in model.named_parameters()}
    starts = {name: {k: v.clone() for k, v in its.items() if isinstance(v, torch.Tensor)}
              for name, its in before.items()}  # fmt: skip
    for _ in range(2):
        optimizer.step(rule.closure(model, (x, y)))
    for name, its in starts.items():
        assert any(not torch.equal(v, before[name][k]) for k, v in its.items()), name
    assert all(p.abs().eq(1).all() for p in model.binary_parameters().values())


@pytest.mark.slow
def test_dropout_of_torchvision_has_the_rate_that_is_set() -> None:
    def found(rate: float) -> list[nn.Module]:
        model = bnnlab.create("model", "mobilenet_v2", input_shape=(3, 32, 32), classes=4,
                              width=0.1, dropout=rate)  # fmt: skip
        return [part for part in model.modules() if isinstance(part, Dropout | nn.Dropout)]

    assert found(0.0) == []
    assert [getattr(part, "rate", None) for part in found(0.3)] == [0.3]
    with pytest.raises(UsageError, match=r"model\.dropout: resnet18 has no dropout"):
        bnnlab.create("model", "torchvision", input_shape=(3, 32, 32), classes=4,
                      architecture="resnet18", dropout=0.3)  # fmt: skip
