"""Activations of the size of the input, with their surrogate gradients.

Source: "Active Continual Learning with Metaplastic Binary Bayesian Neural Networks", ICML 2026
(arXiv 2605.30198), and its published code.
"""

from typing import Any

import torch
from torch import Tensor, nn


class _Window(torch.autograd.Function):
    """One value where |x| is below the width, another above; dy/dx is not 0 near ±width."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, width: float, reverse: bool) -> Tensor:
        if reverse:
            return (x.abs() > width).to(x.dtype)
        return (x.abs() < width).to(x.dtype).mul(2).sub(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, bool], _output: Tensor) -> None:
        x, ctx.width, ctx.reverse = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        size = x.abs()
        flank = (size > ctx.width / 2) & (size < 3 * ctx.width / 2)
        slope = x.sign() if ctx.reverse else -x.sign()
        return grad * (slope * flank), None, None


class _WindowModule(nn.Module):
    """An activation with a threshold for |x|, the width.

    Args:
        width: The threshold, above 0.

    Raises:
        ValueError: If the width is not above 0.
    """

    leading_draws = True
    reverse = False

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        if not width > 0:
            raise ValueError(f"width {width!r} must be above 0")
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations of `x`, in its shape."""
        result: Tensor = _Window.apply(x, self.width, self.reverse)
        return result

    def extra_repr(self) -> str:
        """Show the width when the module is printed."""
        return str(self.width)


class Gate(_WindowModule):
    """y = +1 where |x| < width, else -1.

    The surrogate gradient is +1 on (-3 width/2, -width/2), -1 on (width/2, 3 width/2), 0 elsewhere.

    Args:
        width: The threshold, above 0.
    """


class ReverseBinaryGate(_WindowModule):
    """y = 0 where |x| <= width, else 1.

    The surrogate gradient is -1 on (-3 width/2, -width/2), +1 on (width/2, 3 width/2), 0 elsewhere.

    Args:
        width: The threshold, above 0.
    """

    reverse = True
