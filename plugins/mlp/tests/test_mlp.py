"""The multi-layer perceptron against its definition, written out in NumPy."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bnnlab import BatchNorm, BinaryLinear, Sign, UsageError
from bnnlab.nn.dropout import Dropout
from bnnlab.nn.gates import Gate, ReverseBinaryGate
from bnnlab_mlp.mlp import MLP


def make(seed: int = 0, **options: Any) -> MLP:
    given = {"input_shape": (1, 4, 5), "classes": 3, "hidden": [12, 7], **options}
    return MLP(generator=torch.Generator().manual_seed(seed), **given)


X = torch.randn(6, 1, 4, 5, generator=torch.Generator().manual_seed(9))

ACTIVATIONS = {
    "tanh": np.tanh,
    "silu": lambda a: a / (1 + np.exp(-a)),
    "softplus": lambda a: np.log1p(np.exp(a)),
    "leaky-relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "heaviside": lambda a: np.where(a > 0, 1.0, 0.0),
    "ternary": lambda a: np.where(np.abs(a) <= 1, 0.0, np.sign(a)),
    "sign": lambda a: np.where(a >= 0, 1.0, -1.0),
    "relu": lambda a: np.maximum(a, 0),
    "hardtanh": lambda a: np.clip(a, -1, 1),
    "gate": lambda a: np.where(np.abs(a) < 1, 1.0, -1.0),
    "reverse-binary-gate": lambda a: np.where(np.abs(a) <= 1, 0.0, 1.0),
}


@pytest.mark.parametrize("weights", ["binary", "real"])
@pytest.mark.parametrize(("activation", "norm"), [
    *product(ACTIVATIONS, ["layer", "batch", "none"]), ("tanh", "group"),
])  # fmt: skip
def test_logits_are_those_of_the_definition(activation: Any, norm: Any, weights: Any) -> None:
    last = 9 if norm == "group" else 7  # of seven sums of twelve signs, none is the mean
    model = make(
        activation=activation, norm=norm, weights=weights, hidden=[12, last], groups=3,
        norm_eps=1e-4,
    ).double()  # fmt: skip
    h = X.double().flatten(1).numpy()
    layers = [p.detach().numpy() for p in model.parameters()]
    assert [w.shape for w in layers] == [(12, 20), (last, 12), (3, last)]
    for number, W in enumerate(layers):
        a = h @ W.T
        if weights == "binary":
            a = a / math.sqrt(W.shape[1])
        if number == len(layers) - 1:
            break
        if norm != "none":
            shape = a.shape
            a = a.reshape(len(a), 3, -1) if norm == "group" else a
            axis = {"batch": 0, "layer": 1, "group": 2}[norm]
            a = a - a.mean(axis, keepdims=True)
            a = (a / np.sqrt((a**2).mean(axis, keepdims=True) + 1e-4)).reshape(shape)
        h = ACTIVATIONS[activation](a)
    np.testing.assert_allclose(model(X.double()).detach().numpy(), a, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hidden", [[], [5], [5, 6, 7]])
def test_each_hidden_layer_is_a_segment_and_the_output_layer_is_the_last(hidden: list[int]) -> None:
    model = make(hidden=hidden)
    assert len(model.segments) == len(hidden) + 1
    h, widths = X, []
    for segment in model.segments:
        h = segment(h)
        widths.append(h.shape[1])
    assert widths == [*hidden, 3]
    assert torch.equal(h, model(X))
    assert model.input_shape == (1, 4, 5)


def test_every_weight_is_binary_or_none_is() -> None:
    assert len(make().binary_parameters()) == 3
    assert all(p.abs().eq(1).all() for p in make().parameters())
    assert make(weights="real").binary_parameters() == {}


def test_options_reach_the_layers() -> None:
    model = make(bias=True, scale="learned", norm="batch", statistics="per-task", affine=True,
                 surrogate="polynomial")  # fmt: skip
    parts = list(model.modules())
    for layer in (part for part in parts if isinstance(part, BinaryLinear)):
        assert layer.bias is not None
        assert not layer.bias.any()
        assert layer.scale is not None
    norms = [part for part in parts if isinstance(part, BatchNorm)]
    assert [norm.statistics for norm in norms] == ["per-task"] * 2
    assert all(norm.gamma is not None for norm in norms)
    assert [part.surrogate for part in parts if isinstance(part, Sign)] == ["polynomial"] * 2
    assert not any(isinstance(p, BatchNorm | nn.LayerNorm) for p in make(norm="none").modules())


def test_real_weights_start_as_he_et_al_draw_them_and_biases_at_0() -> None:
    model = make(weights="real", bias=True, hidden=[400])
    first = model.segments[0][1]
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / 20), rel=0.05)
    assert first.weight.mean().item() == pytest.approx(0, abs=0.02)
    assert not first.bias.any()


def test_logits_have_about_unit_variance_at_the_start() -> None:
    model = make(hidden=[256, 256], classes=64)
    x = torch.randn(256, 1, 4, 5, generator=torch.Generator().manual_seed(1))
    assert model(x).var().item() == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("weights", ["binary", "real"])
def test_weights_depend_on_the_generator_alone(weights: Any) -> None:
    before = torch.get_rng_state()
    one, same, other = (make(seed, weights=weights, bias=True) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = zip(one.parameters(), same.parameters(), other.parameters(), strict=True)
    for a, b, c in pairs:
        assert torch.equal(a, b)
        assert a.ndim == 1 or not torch.equal(a, c)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("hidden", [[], [12, 7]])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_output_norm_normalises_the_logits(norm: Any, hidden: list[int], affine: bool) -> None:
    model = make(norm=norm, output_norm=True, hidden=hidden, affine=affine).double()
    plain = make(norm=norm, hidden=hidden, affine=affine).double()
    axis = 1 if norm == "layer" else 0
    a = plain(X.double()).detach()
    a = a - a.mean(axis, keepdim=True)
    a = a / ((a**2).mean(axis, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(model(X.double()).detach(), a)
    assert len(list(model.parameters())) - len(list(plain.parameters())) == (2 if affine else 0)
    assert len(model.segments) == len(hidden) + 1


def test_the_network_of_meng_and_others() -> None:
    """Dropout before each layer, batch normalisation of their settings, also of the logits."""
    model = make(activation="relu", norm="batch", norm_momentum=0.15, norm_eps=1e-4,
                 output_norm=True, input_dropout=0.2, dropout=0.4, scale="none")  # fmt: skip
    kinds = ["".join(type(part).__name__[:2] for part in segment) for segment in model.segments]
    assert kinds == ["DrFlBiBaReDr", "BiBaReDr", "BiBa"]
    rates = [part.rate for part in model.modules() if isinstance(part, Dropout)]
    assert rates == [0.2, 0.4, 0.4]
    norms = {(n.momentum, n.eps) for n in model.modules() if isinstance(n, BatchNorm)}
    assert norms == {(0.15, 1e-4)}
    one, other = model.train()(X), model(X)
    assert not torch.equal(one, other)
    assert torch.equal(model.eval()(X), model(X))


def test_the_outputs_have_an_activation_of_their_own() -> None:
    plain, model = make(), make(output_activation="tanh")
    torch.testing.assert_close(model(X), torch.tanh(plain(X)))


def test_output_norm_without_a_norm_is_refused() -> None:
    with pytest.raises(UsageError, match=r"set model\.norm to 'layer' or 'batch'"):
        make(norm="none", output_norm=True)


@pytest.mark.parametrize(("activation", "kind"), [
    ("gate", Gate), ("reverse-binary-gate", ReverseBinaryGate),
])  # fmt: skip
def test_the_width_reaches_the_gates(activation: Any, kind: type[nn.Module]) -> None:
    model = make(activation=activation, width=1.25)
    assert [part.width for part in model.modules() if isinstance(part, kind)] == [1.25] * 2
