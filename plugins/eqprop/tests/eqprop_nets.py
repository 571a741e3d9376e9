"""What the tests of the relaxing rules share: small networks, and their dynamics in NumPy."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import bnnlab
from bnnlab import BinaryLinear, LearningRule, Model
from bnnlab_eqprop.bptt import BackpropagationThroughTime
from bnnlab_eqprop.rule import EquilibriumPropagation
from bnnlab_eqprop.units import MeanOfCopies
from bnnlab_testing.equations import Array, attached, draws, float64


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=draws(seed), dtype=torch.float64)


def eqprop(model: Model, seed: int = 0, **options: Any) -> EquilibriumPropagation:
    return attached(EquilibriumPropagation(**options), model, seed)


def bptt(model: Model, **options: Any) -> BackpropagationThroughTime:
    return attached(BackpropagationThroughTime(**options), model)


def gradient(rule: LearningRule, model: Model, batch: Any) -> Tensor:
    """Return the gradients of all parameters, one after the other; 0 for one that has none."""
    rule.closure(model, batch)()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([grad.flatten() for grad in grads])


def relative_error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@torch.no_grad()
def redrawn(segments: list[nn.Module], input_shape: tuple[int, ...], size: float = 0.5) -> Model:
    """Return a model in float64 with real weights of about this norm, and small biases."""
    model, g = Model(segments, input_shape).double(), draws(7)
    for p in model.parameters():
        p.normal_(0, size / p[0].numel() ** 0.5 if p.ndim > 1 else 0.1, generator=g)
    return model


def dense(read_out: bool = False, size: float = 0.5) -> Model:
    """Return three layers of smooth units, for inputs (5,), of three classes."""
    return redrawn(
        [
            nn.Sequential(nn.Linear(5, 6), nn.Tanh()),
            nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()),
            nn.Linear(4, 3) if read_out else nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()),
        ],
        (5,),
        size,
    )


def convolutional(read_out: bool = False, size: float = 0.5) -> Model:
    """Return two convolutions with pooling, overlapping in one, and a linear layer."""
    last: list[nn.Module] = [nn.Flatten(), nn.Linear(16, 3)]
    return redrawn(
        [
            nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.MaxPool2d(2), nn.Tanh()),
            nn.Sequential(
                nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Sigmoid()
            ),
            nn.Sequential(*last, *([] if read_out else [nn.Sigmoid()])),
        ],
        (1, 8, 8),
        size,
    )


NETS: dict[str, Callable[..., Model]] = {"dense": dense, "convolutional": convolutional}


def batch_for(model: Model, size: int = 4) -> tuple[Tensor, Tensor]:
    assert model.input_shape is not None
    return randn(size, *model.input_shape, seed=11), torch.arange(size) % 3


LONG = {"free_steps": 300, "nudge_steps": 80}
"""Steps after which the states are at rest."""


class Dynamics:
    """s_l <- sigma(W_l s_{l-1} + b_l + W_{l+1}^T s_{l+1}); with binary units s is a membrane."""

    def __init__(self, model: Model, order: str, gamma: float | None = None) -> None:
        weights = [m for m in model.modules() if isinstance(m, nn.Linear)]
        self.W = [float64(layer.weight) * float64(alpha(layer)) for layer in weights]
        self.b = [float64(layer.bias) for layer in weights]
        self.order, self.gamma = order, gamma

    def out(self, s: Array) -> Any:
        return s if self.gamma is None else np.where(s >= 0.5, 1.0, 0.0)

    def drive(self, s: list[Array], l: int) -> Any:  # noqa: E741
        """dPhi/ds_l, for s_0 = x, ..., s_L."""
        p = self.out(s[l - 1]) if l > 1 else s[0]
        p = p @ self.W[l - 1].T + self.b[l - 1]
        return p + self.out(s[l + 1]) @ self.W[l] if l < len(self.W) else p

    def step(
        self,
        s: list[Array],
        inside: Callable[[Array], Array] | None = None,
        outside: Callable[[Array], Array] | None = None,
        clamped: bool = False,
    ) -> list[Array]:
        L = len(self.W)
        numbers = range(1, L + 1)
        s = list(s)
        for group in [numbers] if self.order == "synchronous" else [numbers[::2], numbers[1::2]]:
            drives = {l: self.drive(s, l) for l in group}  # noqa: E741
            for l, p in drives.items():  # noqa: E741
                if l == L and inside:
                    p = p + inside(s[l])
                if self.gamma is not None:
                    p = (1 - self.gamma) * s[l] + self.gamma * p
                new = np.clip(p, 0, 1)
                if l == L and outside:
                    new = new + outside(s[l])
                    new = np.clip(new, 0, 1) if clamped else new
                s[l] = new
        return s

    def start(self, x: Array, value: float = 0.0) -> list[Array]:
        return [x, *(np.full((len(x), len(b)), value) for b in self.b)]

    def dPhi(self, s: list[Array]) -> list[tuple[Array, Array]]:
        z = [s[0], *(self.out(each) for each in s[1:])]
        return [(z[l].T @ z[l - 1], z[l].sum(0)) for l in range(1, len(z))]  # noqa: E741


def alpha(layer: nn.Linear) -> Tensor:
    """A binary layer's scale as a column."""
    learned: Tensor | None = getattr(layer, "scale", None)
    if learned is not None:
        return learned.detach()[:, None]
    return torch.tensor(getattr(layer, "fixed_scale", 1.0), dtype=torch.float64)


def binary_model(unit: Callable[[], nn.Module], copies: int, scale: Any) -> Model:
    g = draws(1)
    sizes = itertools.pairwise([6, 8, 7, 3 * copies])
    layers = [BinaryLinear(one, two, True, scale, g) for one, two in sizes]
    with torch.no_grad():
        for layer in layers:
            layer.bias.normal_(0.4, 0.2, generator=g)
            if layer.scale is None:
                layer.fixed_scale *= 0.7
            else:
                layer.scale.mul_(0.5 + torch.rand(layer.scale.shape, generator=g))
        if scale == "learned":  # one for the whole layer
            layers[1].scale = nn.Parameter(torch.tensor([0.2]))
    segments = [nn.Sequential(layer, unit()) for layer in layers]
    if copies > 1:
        segments[-1].append(MeanOfCopies(copies))
    return Model(segments, (6,)).double()


def run(**given: Any) -> bnnlab.Result:
    """Return a run on the digits."""
    return bnnlab.run(**{"rule": "eqprop", "stream": "digits", "device": "cpu", **given})
