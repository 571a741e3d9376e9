"""What a layer's units make of their drive."""

from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = (nn.Hardtanh, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity)
"""Each the derivative of a convex function, so that states at rest are extrema of an energy."""


class HardSigmoid(nn.Hardtanh):
    """sigma(u) = u, kept within 0 and 1."""

    def __init__(self) -> None:
        super().__init__(0.0, 1.0)


class _Step(torch.autograd.Function):
    """z = 1 where s >= 1/2, else 0; dz/ds = 1 where |s - 1/2| <= 1/2, else 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(s: Tensor) -> Tensor:
        return (s >= 0.5).to(s.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], _output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        s: Tensor
        (s,) = ctx.saved_tensors
        return grad * ((s - 0.5).abs() <= 0.5)


class BinaryUnit(nn.Module):
    """A membrane s in [0, 1] that follows the drive p slowly, and a binary output z.

    s <- clamp((1 - gamma) s + gamma p, 0, 1), z = 1 where s >= 1/2, else 0 (Laydevant et al.,
    2021, section 4). Called as a module it gives z for a membrane that has come to rest.

    Args:
        gamma: Share of the drive in the new membrane, in (0, 1].

    Raises:
        ValueError: On another gamma.
    """

    def __init__(self, gamma: float = 0.5) -> None:
        super().__init__()
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma {gamma!r} must be above 0 and at most 1")
        self.gamma = gamma

    def forward(self, p: Tensor) -> Tensor:
        """Return z in the shape of `p`."""
        return self.output(p.clamp(0, 1))

    def follow(self, s: Tensor, p: Tensor) -> Tensor:
        """Return the membrane after a step."""
        return s.lerp(p, self.gamma).clamp_(0, 1)

    @staticmethod
    def output(s: Tensor) -> Tensor:
        """Return z of a membrane in [0, 1]."""
        z: Tensor = _Step.apply(s)
        return z

    def extra_repr(self) -> str:
        """Show gamma when the module is printed."""
        return str(self.gamma)


class MeanOfCopies(nn.Module):
    """The mean of each class's output units: `(B, copies * K)` becomes `(B, K)`.

    Unit j belongs to class j modulo K.

    Args:
        copies: Units per class, at least 1.
    """

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.copies = copies

    def forward(self, x: Tensor) -> Tensor:
        """Return the means."""
        return x.view(len(x), self.copies, -1).mean(1)

    def extra_repr(self) -> str:
        """Show the number of copies when the module is printed."""
        return str(self.copies)


def bounds(unit: nn.Module) -> tuple[float, float] | None:
    """Return between which values a unit's states lie; None without bounds."""
    if isinstance(unit, nn.Hardtanh):
        return unit.min_val, unit.max_val
    if isinstance(unit, nn.Tanh):
        return -1.0, 1.0
    return (0.0, 1.0) if isinstance(unit, nn.Sigmoid | BinaryUnit) else None


def saturated(unit: nn.Module, s: Tensor) -> Tensor | None:
    """Return where a state lies at its unit's bounds, bool in its shape; None without bounds."""
    if isinstance(unit, nn.Hardtanh):
        return (s == unit.min_val) | (s == unit.max_val)
    if isinstance(unit, BinaryUnit):
        return (s == 0) | (s == 1)
    return s == 0 if isinstance(unit, nn.ReLU) else None
