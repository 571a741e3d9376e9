"""What tests of a method against its paper's equations share: models, batches, gradients, NumPy."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bnnlab.families import summed_draws
from bnnlab.interfaces import elementwise
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import LearningRule
from bnnlab.nn.layers import BinaryConv2d, BinaryLinear, Sign
from bnnlab_testing.toy import constant as constant

Array = NDArray[Any]
BATCH_SIZE = 16
Rule = TypeVar("Rule", bound=LearningRule)


def make_model(classes: int = 10) -> Model:
    """Return a binary convolution and two binary linear layers, for inputs (B, 1, 8, 8).

    Biases, gains, shifts and the scales of two layers are real: every kind of parameter is there.
    """
    draws = torch.Generator().manual_seed(1)
    convolution = BinaryConv2d(1, 4, 3, bias=True, scale="learned", generator=draws)
    return Model(
        [
            nn.Sequential(convolution, nn.Flatten(), nn.LayerNorm(4 * 6 * 6), Sign()),
            nn.Sequential(BinaryLinear(144, 20, bias=True, generator=draws), nn.Hardtanh()),
            BinaryLinear(20, classes, scale="learned", generator=draws),
        ],
        input_shape=(1, 8, 8),
    )


def make_closure(
    model: Model, seed: int, *, batch_size: int = BATCH_SIZE, classes: int = 10
) -> Callable[[], Tensor]:
    """Return a closure that leaves the gradients of a batch of noise, drawn from a seed."""
    draws = torch.Generator().manual_seed(seed)
    inputs = torch.randn(batch_size, 1, 8, 8, generator=draws).to(next(model.parameters()))
    targets = torch.randint(0, classes, (batch_size,), generator=draws)

    def closure() -> Tensor:
        model.zero_grad()
        with torch.enable_grad():
            loss = F.cross_entropy(model(inputs), targets)
            torch.autograd.backward(loss)
        return loss.detach()

    return closure


def take_networks_for_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small networks be updated in chunks, and evaluated draw by draw, as large ones are."""
    for module in (elementwise, summed_draws):
        monkeypatch.setattr(module, "CPU_CHUNK", 64)


def attached(rule: Rule, model: Model, seed: int = 3) -> Rule:
    """Attach a rule to a model, and return it."""
    rule.attach(model, draws(seed))
    return rule


def draws(seed: int = 0) -> torch.Generator:
    """Return a generator."""
    return torch.Generator().manual_seed(seed)


def float64(tensor: Tensor) -> Array:
    """Return a copy of a tensor as an array of float64."""
    return tensor.detach().double().numpy().copy()


def apart(found: Array, wanted: Array) -> float:
    """Return the largest difference of two arrays, in units of the largest number wanted."""
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))


class Adam:
    """Kingma and Ba, ICLR 2015, algorithm 1, for one array; with an L2 penalty in the gradient."""

    def __init__(self, value: Array, lr: float, decay: float = 0.0) -> None:
        self.value, self.lr, self.decay = value, lr, decay
        self.m, self.v, self.t = np.zeros_like(value), np.zeros_like(value), 0

    def step(self, g: Array) -> None:
        """Update the value by a gradient."""
        self.t += 1
        g = g + self.decay * self.value
        self.m = 0.9 * self.m + (1 - 0.9) * g
        self.v = 0.999 * self.v + (1 - 0.999) * g**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.value = self.value - self.lr * m / (np.sqrt(v) + 1e-8)
