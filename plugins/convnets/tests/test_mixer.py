"""MLP-Mixer against its definition, written out in NumPy."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from bnnlab import UsageError
from bnnlab_convnets.mixer import MLPMixer

P, C, DEPTH, D_S, D_C = 2, 6, 2, 12, 9  # 4 x 6 pixels in patches of 2 x 2: S = 6 tokens
Array = np.ndarray


def make(**options: Any) -> MLPMixer:
    given = {"input_shape": (2, 8, 12), "classes": 3, "patch": 4, "dim": C, "depth": DEPTH,
             "token_expansion": D_S / 6, "channel_expansion": D_C / C, **options}  # fmt: skip
    return MLPMixer(generator=torch.Generator().manual_seed(1), **given)


def gelu(a: Array) -> Array:
    return a / 2 * (1 + np.vectorize(math.erf)(a / math.sqrt(2)))


def sign(a: Array) -> Array:
    return np.where(a >= 0, 1.0, -1.0)


@pytest.mark.parametrize("remove_skips", [False, True])
@pytest.mark.parametrize("activations", ["binary", "real"])
@pytest.mark.parametrize(("weights", "keep"), [
    ("real", "none"), ("binary", "none"), ("binary", "first-and-last"),
])  # fmt: skip
def test_logits_are_those_of_the_definition(
    weights: Any, keep: Any, activations: Any, remove_skips: bool
) -> None:
    model = make(weights=weights, keep=keep, activations=activations, remove_skips=remove_skips)
    generator = torch.Generator().manual_seed(2)
    binary = model.double().binary_parameters().values()
    with torch.no_grad():  # nothing at its special starting value
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    images = torch.randn(5, 2, 8, 12, generator=generator, dtype=torch.float64)
    found = model(images).detach().numpy()

    parameters = iter(model.parameters())

    def take() -> Array:
        parameter = next(parameters)
        scale = 1 / math.sqrt(parameter[0].numel()) if any(parameter is b for b in binary) else 1
        return parameter.detach().numpy() * scale

    def norm(X: Array) -> Array:  # over the channels of each token
        centred = X - X.mean(-1, keepdims=True)
        gain, shift = take(), take()
        return gain * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) + shift

    s = gelu if activations == "real" else sign
    K, b = take().reshape(C, -1), take()
    x = images.numpy()
    patches = [
        x[:, :, i : i + 4, j : j + 4].reshape(5, -1)
        for i in range(0, 8, 4)
        for j in range(0, 12, 4)
    ]
    X = np.stack([patch @ K.T + b for patch in patches], axis=1)  # (5, S, C)
    for _ in range(DEPTH):
        Z = norm(X)
        W1, b1, W2, b2 = take(), take(), take(), take()
        assert W1.shape == (D_S, 6)
        mixed = W2 @ s(W1 @ Z + b1[:, None]) + b2[:, None]
        U = mixed if remove_skips else X + mixed
        Z = norm(U)
        W3, b3, W4, b4 = take(), take(), take(), take()
        assert W3.shape == (D_C, C)
        mixed = s(Z @ W3.T + b3) @ W4.T + b4
        X = mixed if remove_skips else U + mixed
    W, b = norm(X).mean(1), None
    head, shift = take(), take()
    np.testing.assert_allclose(found, W @ head.T + shift, rtol=1e-9, atol=1e-11)
    assert next(parameters, None) is None


def test_a_patch_that_does_not_divide_the_image_is_refused() -> None:
    with pytest.raises(UsageError, match=r"5 does not divide 8x12 pixels; use one of 1, 2, 4$"):
        make(patch=5)
