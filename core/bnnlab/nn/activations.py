"""The sign activation and its surrogate gradients."""

import inspect
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bnnlab.interfaces.signs import sign

Surrogate = Literal["saturating", "identity", "polynomial"]


class _SurrogateSign(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, _surrogate: Surrogate) -> Tensor:
        return sign(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Surrogate], _output: Tensor) -> None:
        x, ctx.surrogate = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        if ctx.surrogate == "saturating":
            return grad * (x.abs() <= 1), None
        if ctx.surrogate == "polynomial":
            return grad * x.abs().mul_(-2).add_(2).clamp_min_(0), None
        return grad, None


# torch reads the signature at every call. Without this, Python would build it each time.
_SurrogateSign.forward.__signature__ = inspect.signature(_SurrogateSign.forward)  # type: ignore[attr-defined]


class Sign(nn.Module):
    """The sign activation: y = -1 or +1, with a surrogate gradient for dy/dx.

    - `saturating`: 1 where |x| <= 1, else 0 (Courbariaux et al., "Binarized Neural Networks",
      2016, eq. 4).
    - `identity`: 1 everywhere (Bengio et al., "Estimating or Propagating Gradients Through
      Stochastic Neurons", 2013).
    - `polynomial`: max(0, 2 - 2|x|) (Liu et al., "Bi-Real Net", 2018, eq. 6).

    Args:
        surrogate: One of these three.

    Raises:
        ValueError: If it is none of them.
    """

    gives_signs = True

    def __init__(self, surrogate: Surrogate = "saturating") -> None:
        super().__init__()
        if surrogate not in get_args(Surrogate):
            raise ValueError(f"surrogate {surrogate!r}: choose from {get_args(Surrogate)}")
        self.surrogate = surrogate

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of `x`, in its shape."""
        result: Tensor = _SurrogateSign.apply(x, self.surrogate)
        return result

    def is_open(self, x: Tensor) -> Tensor:
        """Return where the surrogate gradient is not zero, bool in the shape of `x`."""
        if self.surrogate == "identity":
            return torch.ones_like(x, dtype=torch.bool)
        return x.abs() < 1 if self.surrogate == "polynomial" else x.abs() <= 1

    def extra_repr(self) -> str:
        """Show the surrogate when the module is printed."""
        return self.surrogate
