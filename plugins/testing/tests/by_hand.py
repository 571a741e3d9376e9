"""Layers in float64 NumPy, forward and back, for tests of a rule against its paper's equations.

Each returns its output, and a function from dL/d(output) to dL/d(input) and the gradients of its
parameters by name.
"""

from collections.abc import Callable

import numpy as np

from bnnlab_testing.equations import Array

Back = Callable[[Array], tuple[Array, dict[str, Array]]]


def linear(x: Array, W: Array, s: Array, b: Array) -> tuple[Array, Back]:
    """Return s * (x W^T) + b, s and b per output."""
    z = x @ W.T
    return s * z + b, lambda d: (
        (d * s) @ W,
        {"weight": (d * s).T @ x, "scale": (d * z).sum(0), "bias": d.sum(0)},
    )


def conv(x: Array, W: Array, s: float, padding: int) -> tuple[Array, Back]:
    """y[n, o, i, j] = s * sum_{c, u, v} x[n, c, i + u, j + v] W[o, c, u, v]."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = W.shape[-1]
    H, V = x.shape[2] - k + 1, x.shape[3] - k + 1
    places = [(u, v) for u in range(k) for v in range(k)]
    y = sum(
        np.einsum("ncij,oc->noij", x[:, :, u : u + H, v : v + V], W[:, :, u, v]) for u, v in places
    )

    def back(d: Array) -> tuple[Array, dict[str, Array]]:
        dW, dx = np.zeros_like(W), np.zeros_like(x)
        for u, v in places:
            window = (slice(None), slice(None), slice(u, u + H), slice(v, v + V))
            dW[:, :, u, v] = s * np.einsum("noij,ncij->oc", d, x[window])
            dx[window] += s * np.einsum("noij,oc->ncij", d, W[:, :, u, v])
        inner = slice(padding, dx.shape[2] - padding)
        return dx[:, :, inner, inner], {"weight": dW}

    return s * y, back


def max_pool(x: Array) -> tuple[Array, Back]:
    """The largest of each 2 x 2 square."""
    n, c, h, w = x.shape
    squares = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    flat = squares.reshape(n, c, h // 2, w // 2, 4)
    best = flat.argmax(-1)[..., None]

    def back(d: Array) -> tuple[Array, dict[str, Array]]:
        dx = np.zeros_like(flat)
        np.put_along_axis(dx, best, d[..., None], -1)
        dx = dx.reshape(n, c, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5)
        return dx.reshape(x.shape), {}

    return np.take_along_axis(flat, best, -1)[..., 0], back


def normalise(
    x: Array,
    axes: tuple[int, ...],
    g: Array | float = 1.0,
    b: Array | float = 0.0,
    eps: float = 1e-5,
) -> tuple[Array, Back]:
    """Return g * x_hat + b; x_hat has mean 0 and variance 1 over `axes`; g, b per channel."""
    root = np.sqrt(x.var(axes, keepdims=True) + eps)
    x_hat = (x - x.mean(axes, keepdims=True)) / root
    others = tuple(axis for axis in range(x.ndim) if axis != 1)

    def back(d: Array) -> tuple[Array, dict[str, Array]]:
        dh = d * g
        along = (dh * x_hat).mean(axes, keepdims=True)
        dx = (dh - dh.mean(axes, keepdims=True) - x_hat * along) / root
        return dx, {"g": (d * x_hat).sum(others), "b": d.sum(others)}

    return g * x_hat + b, back


def sign(x: Array) -> tuple[Array, Back]:
    """Signs; the gradient passes where |x| <= 1."""
    return np.where(x >= 0, 1.0, -1.0), lambda d: (d * (np.abs(x) <= 1), {})


def hardtanh(x: Array) -> tuple[Array, Back]:
    """x, cut to [-1, 1]."""
    return np.clip(x, -1, 1), lambda d: (d * (np.abs(x) < 1), {})


def flat(x: Array) -> tuple[Array, Back]:
    """One row of numbers for each example."""
    return x.reshape(len(x), -1), lambda d: (d.reshape(x.shape), {})


def cross_entropy(logits: Array, targets: Array) -> tuple[float, Array]:
    """Return the mean cross-entropy and its gradient at the logits."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.arange(len(targets))
    e = p.copy()
    e[rows, targets] -= 1
    return float(-np.log(p[rows, targets]).mean()), e / len(targets)
