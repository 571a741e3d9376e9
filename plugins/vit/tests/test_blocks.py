"""Blocks against the papers' equations, transcribed to float64 NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf

import bnnlab
from bnnlab import Model, UsageError
from bnnlab_vit.blocks import Block

Array = NDArray[np.float64]
HEADS, DIM = 3, 12


def make(name: str, **options: Any) -> Model:
    """Return a model in float64 whose parameters are all away from where they begin."""
    sizes = {"patch": 2, "dim": DIM, "depth": 2, "heads": HEADS, "mlp_ratio": 2.0}
    model = bnnlab.create(
        "model", name, input_shape=(2, 6, 4), classes=5, **{**sizes, **options}
    ).double()
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name not in model.binary_parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=draws)
    assert isinstance(model, Model)
    return model


def arrays(module: torch.nn.Module) -> dict[str, Array]:
    return {name: p.detach().double().numpy() for name, p in module.named_parameters()}


def sign(x: Array) -> Array:
    return np.where(x >= 0, 1.0, -1.0)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def normalise(x: Array, p: dict[str, Array], name: str) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return centred / deviation * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(x: Array, p: dict[str, Array], name: str) -> Array:
    scale = p.get(f"{name}.scale", 1.0)
    return scale * (x @ p[f"{name}.weight"].T) + p[f"{name}.bias"]


def attend(x: Array, p: dict[str, Array], binary_product: bool, before: Callable[[Array], Array]):
    """Attention of one image's tokens `(T, D)`, a head and a query at a time."""
    q, k, v = np.split(linear(before(x), p, "attention.qkv"), 3, axis=-1)
    d = DIM // HEADS
    y = np.zeros_like(x)
    for head in range(HEADS):
        of_head = slice(head * d, (head + 1) * d)
        Q, K, V = q[:, of_head], k[:, of_head], v[:, of_head]
        if not binary_product:
            y[:, of_head] = softmax(Q @ K.T / np.sqrt(d)) @ V
            continue
        P = softmax(sign(Q) @ sign(K).T / np.sqrt(d))
        alpha = np.exp(p["attention.product.log_alpha"][head, 0, 0])
        A = alpha * np.round(np.clip(P / alpha, 0, 1))
        y[:, of_head] = A @ sign(V) + p["attention.product.shift"][head]
    return linear(before(y), p, "attention.out")


def block(x: Array, p: dict[str, Array], kind: str, binary_product: bool) -> Array:
    same = np.asarray
    in_attention = sign if kind == "bvit" else same
    x = x + attend(normalise(x, p, "norm1"), p, binary_product, in_attention)
    hidden = normalise(x, p, "norm2")
    hidden = linear(same(hidden) if kind == "vit" else sign(hidden), p, "mlp.fc1")
    active = hidden * (1 + erf(hidden / np.sqrt(2))) / 2 if kind == "vit" else sign(hidden)
    return x + linear(active, p, "mlp.fc2")


@pytest.mark.parametrize(
    ("kind", "product"),
    [("vit", "real"), ("hybrid", "real"), ("bvit", "real"), ("bvit", "binary")],
)
@pytest.mark.parametrize("pooling", ["mean", "token"])
def test_logits_are_those_of_the_equations(kind: str, product: str, pooling: str) -> None:
    options = {"attention": product} if kind == "bvit" else {}
    model = make(kind, pooling=pooling, **options).eval()
    images = torch.randn(3, 2, 6, 4, generator=torch.Generator().manual_seed(1)).double()
    p = arrays(model.segments[0])
    embedded = []
    for image in images.numpy():
        patches = [
            (p["patches.weight"] * image[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]).sum((1, 2, 3))
            for i in range(3)
            for j in range(2)
        ]
        tokens = np.stack(patches) + p["patches.bias"]
        if pooling == "token":
            tokens = np.concatenate([p["token"][0], tokens])
        embedded.append(tokens + p["position"][0])
    x = np.stack(embedded)
    for segment in list(model.segments)[1:-1]:
        weights = arrays(segment)
        x = np.stack([block(each, weights, kind, product == "binary") for each in x])
    p = arrays(model.segments[-1])
    x = normalise(x, p, "norm")
    logits = linear(x[:, 0] if pooling == "token" else x.mean(1), p, "classifier")
    np.testing.assert_allclose(model(images).detach().numpy(), logits, rtol=1e-9, atol=1e-11)


def test_gradients_of_binary_attentions_weights_are_those_of_the_papers() -> None:
    """dA/dP = 1 where P < alpha; dA/dalpha is A's step there and 1 beyond."""
    product = make("bvit", attention="binary").segments[1].get_submodule("attention.product")
    q, k, v = (torch.randn(1, HEADS, 6, 4).double().requires_grad_() for _ in range(3))
    P = (q.sign() @ k.sign().mT / 2).softmax(-1).detach()
    alpha = product.get_parameter("log_alpha").detach().exp()
    upstream = torch.randn(1, HEADS, 6, 4).double()
    product(q, k, v).backward(upstream)
    per_weight = upstream @ v.detach().sign().mT  # the gradient at A
    ratio = (P / alpha).clamp(0, 1)
    inside = alpha > P
    assert {*inside.flatten().tolist()} == {True, False}, "one side is not looked at"
    of_alpha = torch.where(inside, ratio.round() - ratio, torch.ones(())) * per_weight
    expected = alpha * of_alpha.sum((0, 2, 3))[:, None, None]
    torch.testing.assert_close(product.get_parameter("log_alpha").grad, expected)
    at_P = per_weight * inside
    at_scores = P * (at_P - (P * at_P).sum(-1, keepdim=True)) / 2  # softmax, and 1 / sqrt(d)
    window = (2 - 2 * q.detach().abs()).clamp_min(0)
    assert q.grad is not None
    torch.testing.assert_close(q.grad, at_scores @ k.detach().sign() * window)


@pytest.mark.parametrize("name", ["vit", "hybrid", "bvit"])
def test_every_block_changes_the_logits(name: str) -> None:
    model = make(name, depth=4)
    x = torch.randn(4, 2, 6, 4).double()
    whole = model(x)
    blocks = [number for number, each in enumerate(model.segments) if isinstance(each, Block)]
    assert blocks == [1, 2, 3, 4]
    for number in blocks:
        kept, model.segments[number] = model.segments[number], torch.nn.Identity()
        assert not torch.allclose(model(x), whole), f"block {number} does nothing"
        model.segments[number] = kept


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("patch", 4, "4 does not divide 6x4 pixels; use one of 1, 2"),
        ("heads", 5, "5 does not divide the 12 channels of a token; use one of 1, 2, 3, 4, 6, 12"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(option: str, value: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make("vit", **{option: value})


def test_inputs_that_are_no_images_are_refused() -> None:
    with pytest.raises(UsageError, match=r"takes images \(C, H, W\)"):
        bnnlab.create("model", "bvit", input_shape=(64,), classes=10)
