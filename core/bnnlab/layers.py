"""Binary layers and the sign activation with its surrogate gradients."""

import math
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Scale = Literal["none", "fan-in", "learned"]
Surrogate = Literal["saturating", "identity", "polynomial"]


def sign(x: Tensor) -> Tensor:
    """Return -1 or +1 by the sign bit, never 0: +0 gives +1 and -0 gives -1."""
    return torch.copysign(torch.ones((), dtype=x.dtype, device=x.device), x)


def random_signs(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Return a float32 tensor of independent, equally likely -1 and +1."""
    return torch.randint(0, 2, shape, generator=generator).mul_(2).sub_(1).float()


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


class Sign(nn.Module):
    """The sign activation: y = -1 or +1, with a surrogate gradient for dy/dx.

    - `saturating`: 1 where |x| <= 1, else 0 (Courbariaux et al., "Binarized Neural Networks",
      2016, eq. 4).
    - `identity`: 1 everywhere (Bengio et al., "Estimating or Propagating Gradients Through
      Stochastic Neurons", 2013).
    - `polynomial`: max(0, 2 - 2|x|) (Liu et al., "Bi-Real Net", 2018, eq. 6).

    Args:
        surrogate: Which of the three.

    Raises:
        ValueError: On another surrogate.
    """

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


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x @ weight.T`; weights with a leading draw dimension give `(S, B, outputs)`."""
    if weight.ndim == 2:
        return F.linear(x, weight)
    if x.ndim == 2:  # the first layer: one product for all draws
        together = F.linear(x, weight.flatten(0, 1))  # (B, S * outputs)
        return together.view(len(x), *weight.shape[:2]).transpose(0, 1)
    return torch.matmul(x, weight.mT)


class Linear(nn.Linear):
    """A real linear layer that also takes weights `(S, outputs, inputs)`, one per draw."""

    leading_draws = True

    def forward(self, input: Tensor) -> Tensor:
        """Map `(..., inputs)` to `(..., outputs)`."""
        y = linear(input, self.weight)
        return y if self.bias is None else y.add(self.bias)


class _BinaryLayer(nn.Module):
    """What binary layers share: signs for weights, a scale on the sums, a real bias."""

    binary_names = ("weight",)
    weight: Tensor
    bias: Any  # Tensor or None; torch types it in two ways
    scale: nn.Parameter | None

    def _make_binary(self, scale: Scale, generator: torch.Generator | None) -> None:
        if scale not in get_args(Scale):
            raise ValueError(f"scale {scale!r}: choose from {get_args(Scale)}")
        inverse_root = 1 / math.sqrt(self.weight[0].numel())
        learned = torch.full((len(self.weight),), inverse_root) if scale == "learned" else None
        self.register_parameter("scale", None if learned is None else nn.Parameter(learned))
        self.fixed_scale = inverse_root if scale == "fan-in" else 1.0
        self.weight = nn.Parameter(random_signs(tuple(self.weight.shape), generator))

    def reset_parameters(self) -> None:
        """Set the bias to zero; the constructor draws the signs."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _scale_and_shift(self, sums: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Apply scale and bias, whose numbers per output are viewed in this shape."""
        y = sums * (self.fixed_scale if self.scale is None else self.scale.view(shape))
        return y if self.bias is None else y.add(self.bias.view(shape))


class BinaryLinear(_BinaryLayer, nn.Linear):
    """y = scale * (x @ weight.T) + bias, with every weight exactly -1 or +1.

    The weight is the deployed one; latent weights, if a method has any, are its optimizer's.
    The scale is never tied to the size of latent weights, because methods store importance there.

    Args:
        in_features: Size D of the last input dimension.
        out_features: Size of the last output dimension.
        bias: Whether to add a real bias.
        scale: `none` (1), `fan-in` (1/sqrt(D)) or `learned` (one real number per output, starting
            at 1/sqrt(D)).
        generator: Draws the initial signs; torch's default generator if None.
    """

    leading_draws = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = False,
        scale: Scale = "fan-in",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self._make_binary(scale, generator)

    def forward(self, input: Tensor) -> Tensor:
        """Map `(..., in_features)` to `(..., out_features)`."""
        return self._scale_and_shift(linear(input, self.weight), (-1,))


class BinaryConv2d(_BinaryLayer, nn.Conv2d):
    """2-d convolution, times a scale, plus a bias, with every weight exactly -1 or +1.

    Args:
        in_channels: Input channels C.
        out_channels: Output channels.
        kernel_size: Side (or height and width) of the kernel.
        stride: As in `torch.nn.Conv2d`.
        padding: As in `torch.nn.Conv2d`; the border is padded with zeros.
        dilation: As in `torch.nn.Conv2d`.
        groups: As in `torch.nn.Conv2d`.
        bias: Whether to add a real bias.
        scale: As for `BinaryLinear`; the fan-in is C / groups * height * width of the kernel.
        generator: Draws the initial signs; torch's default generator if None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        scale: Scale = "fan-in",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self._make_binary(scale, generator)

    def forward(self, input: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to `(B, out_channels, H', W')`."""
        return self._scale_and_shift(self._conv_forward(input, self.weight, None), (-1, 1, 1))


def binary_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the binary parameters of a module by name.

    A module declares its own in a class attribute `binary_names`; nothing is guessed from shapes.
    """
    found = {}
    for prefix, part in module.named_modules():
        for name in getattr(part, "binary_names", ()):
            found[f"{prefix}.{name}" if prefix else name] = getattr(part, name)
    return found
