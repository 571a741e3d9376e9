"""Activations: steps with surrogate gradients, and the choice among all by name."""

import inspect
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.signs import sign
from bnnlab.nn.gates import Gate, ReverseBinaryGate

Surrogate = Literal["saturating", "identity", "polynomial", "swish", "tanh"]
Activation = Literal[
    "sign",
    "relu",
    "hardtanh",
    "gate",
    "reverse-binary-gate",
    "tanh",
    "silu",
    "softplus",
    "leaky-relu",
    "heaviside",
    "ternary",
]

SMOOTH: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "hardtanh": nn.Hardtanh,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "leaky-relu": nn.LeakyReLU,
}
"""Activations of torch, by name."""
_BETA = 5.0  # of the swish surrogate


def _slope(x: Tensor, surrogate: Surrogate, clip: float) -> Tensor:
    """Return what takes the place of dy/dx."""
    if surrogate == "saturating":
        return x.abs() <= clip
    if surrogate == "polynomial":
        return x.abs().mul_(-2).add_(2).clamp_min_(0)
    if surrogate == "tanh":
        return 1 - torch.tanh(x) ** 2
    b = _BETA * x
    return _BETA * (2 - b * torch.tanh(b / 2)) / (1 + torch.cosh(b))


class _SurrogateStep(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, values: str, width: float, _surrogate: Surrogate, _clip: float
    ) -> Tensor:
        if values == "sign":
            return sign(x)
        if values == "heaviside":
            return (x > 0).to(x.dtype)
        return sign(x) * (x.abs() > width)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Tensor) -> None:
        x, _, _, ctx.surrogate, ctx.clip = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (x,) = ctx.saved_tensors
        if ctx.surrogate != "identity":
            grad = grad * _slope(x, ctx.surrogate, ctx.clip)
        return grad, None, None, None, None


# torch reads the signature at every call. Without this, Python would build it each time.
_SurrogateStep.forward.__signature__ = inspect.signature(_SurrogateStep.forward)  # type: ignore[attr-defined]


class Sign(nn.Module):
    """The sign activation: y = -1 or +1, with a surrogate gradient for dy/dx.

    - `saturating`: 1 where |x| <= clip, else 0 (Courbariaux et al., "Binarized Neural Networks",
      2016, eq. 4).
    - `identity`: 1 everywhere (Bengio et al., "Estimating or Propagating Gradients Through
      Stochastic Neurons", 2013).
    - `polynomial`: max(0, 2 - 2|x|) (Liu et al., "Bi-Real Net", 2018, eq. 6).
    - `swish`: b (2 - bx tanh(bx/2)) / (1 + cosh(bx)) with b = 5 (Darabi et al., "Regularized Binary
      Network Training", 2018, eq. 4).
    - `tanh`: 1 - tanh(x)^2, the derivative of tanh.

    Args:
        surrogate: One of these.
        clip: Where the saturating surrogate gradient ends, above 0.

    Raises:
        ValueError: If it is none of them, or another `clip` than 1 is given to another one.
    """

    leading_draws = True
    gives_signs = True
    clip = 1.0
    _values = "sign"
    _width = 0.0

    def __init__(self, surrogate: Surrogate = "saturating", clip: float = 1.0) -> None:
        super().__init__()
        if surrogate not in get_args(Surrogate):
            raise ValueError(f"surrogate {surrogate!r}: choose from {get_args(Surrogate)}")
        if not clip > 0 or (clip != 1 and surrogate != "saturating"):
            raise ValueError(f"clip {clip}: above 0, and 1 beside surrogate {surrogate!r}")
        self.surrogate, self.clip = surrogate, clip

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations of `x`, in its shape."""
        result: Tensor = _SurrogateStep.apply(
            x, self._values, self._width, self.surrogate, self.clip
        )
        return result

    def is_open(self, x: Tensor) -> Tensor:
        """Return where the surrogate gradient is not zero, bool in the shape of `x`."""
        if self.surrogate == "saturating":
            return x.abs() <= self.clip
        if self.surrogate == "polynomial":
            return x.abs() < 1
        return torch.ones_like(x, dtype=torch.bool)

    def extra_repr(self) -> str:
        """Show the surrogate when the module is printed."""
        return self.surrogate if self.clip == 1 else f"{self.surrogate}, {self.clip}"


class Heaviside(Sign):
    """y = 1 where x > 0, else 0. Arguments as in `Sign`."""

    gives_signs = False
    _values = "heaviside"


class Ternary(Sign):
    """y = 0 where |x| <= width, else the sign of x (Li et al., "Ternary Weight Networks", 2016).

    Args:
        width: The threshold, above 0.
        surrogate: As in `Sign`.
        clip: As in `Sign`.
    """

    gives_signs = False
    _values = "ternary"

    def __init__(
        self, width: float, surrogate: Surrogate = "saturating", clip: float = 1.0
    ) -> None:
        super().__init__(surrogate, clip)
        self._width = width


def make_activation(
    kind: Activation, surrogate: Surrogate = "saturating", clip: float = 1.0, width: float = 1.0
) -> nn.Module:
    """Return the activation of this name.

    Args:
        kind: Its name.
        surrogate: Surrogate gradient of a step: sign, heaviside or ternary.
        clip: Where the saturating surrogate gradient ends.
        width: Threshold of gate, reverse-binary-gate and ternary.

    Raises:
        UsageError: If `clip` is given to another surrogate than `saturating`.
    """
    if clip != 1 and surrogate != "saturating":
        raise UsageError(
            f"model.surrogate_clip is where the surrogate gradient 'saturating' ends, and "
            f"model.surrogate is {surrogate!r}: leave surrogate_clip at 1, or surrogate out"
        )
    if kind in SMOOTH:
        return SMOOTH[kind]()
    if kind in ("gate", "reverse-binary-gate"):
        return Gate(width) if kind == "gate" else ReverseBinaryGate(width)
    if kind == "ternary":
        return Ternary(width, surrogate, clip)
    return Sign(surrogate, clip) if kind == "sign" else Heaviside(surrogate, clip)
