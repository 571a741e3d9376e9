"""Activation functions of real numbers, as torch computes them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]

_erf = np.frompyfunc(math.erf, 1, 1)


def _sigmoid(x: Real) -> Real:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def _gelu(x: Real) -> Real:
    return x * (0.5 + 0.5 * _erf(x * math.sqrt(0.5)).astype(np.float32))


def _softplus(x: Real) -> Real:
    return np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20))))


def _hardsigmoid(x: Real) -> Real:
    return np.clip(x + 3, 0, 6) / np.float32(6)


FUNCTIONS: dict[str, tuple[Callable[..., NDArray[Any]], tuple[str, ...]]] = {
    "relu": (lambda x: np.maximum(x, 0), ()),
    "relu6": (lambda x: np.clip(x, 0, 6), ()),
    "leaky-relu": (lambda x, slope: np.where(x > 0, x, x * slope), ("slope",)),
    "hardtanh": (lambda x: np.clip(x, -1, 1), ()),
    "tanh": (np.tanh, ()),
    "sigmoid": (_sigmoid, ()),
    "hardsigmoid": (_hardsigmoid, ()),
    "silu": (lambda x: x * _sigmoid(x), ()),
    "hardswish": (lambda x: x * _hardsigmoid(x), ()),
    "gelu": (_gelu, ()),
    "softplus": (_softplus, ()),
    "heaviside": (lambda x: x > 0, ()),
    "ternary": (lambda x, width: np.copysign(np.abs(x) > width, x), ("width",)),
    "gate": (lambda x, width: np.where(np.abs(x) < width, 1, -1), ("width",)),
    "reverse-binary-gate": (lambda x, width: np.abs(x) > width, ("width",)),
}
"""The functions by name, and the parameters that they take."""
