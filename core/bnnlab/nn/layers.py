"""Binary layers and the sign activation with its surrogate gradients."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.interfaces.signs import check_loaded, random_signs, sign

Scale = Literal["none", "fan-in", "learned"]
Surrogate = Literal["saturating", "identity", "polynomial"]
Sides = int | tuple[int, ...]


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


# torch asks for the signature at every call, and makes it anew where none is kept.
_SurrogateSign.forward.__signature__ = inspect.signature(_SurrogateSign.forward)  # type: ignore[attr-defined]


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
    fixed_scale: float

    @classmethod
    def take_over(cls, layer: nn.Module, scale: Scale) -> None:
        """Turn a real layer itself into a binary one, with the signs of its weights.

        The layer stays the same object, and so do its parameters: who shares them, hooks, modes,
        what is frozen, and whatever else somebody has put on it are as before.
        """
        layer.__class__ = cls
        assert isinstance(layer, _BinaryLayer)
        layer._give_scale(scale)
        layer.weight.data.copy_(sign(layer.weight.data))

    def _make_binary(self, scale: Scale, generator: torch.Generator | None) -> None:
        self._give_scale(scale)
        self.weight = nn.Parameter(random_signs(tuple(self.weight.shape), generator))

    def _give_scale(self, scale: Scale) -> None:
        if scale not in get_args(Scale):
            raise ValueError(f"scale {scale!r}: choose from {get_args(Scale)}")
        outputs, fan_in = self._sizes()
        inverse_root = 1 / math.sqrt(fan_in or 1)
        learned = self.weight.new_full((outputs,), inverse_root) if scale == "learned" else None
        self.register_parameter(
            "scale",
            None if learned is None else nn.Parameter(learned, self.weight.requires_grad),
        )
        self.fixed_scale = inverse_root if scale == "fan-in" else 1.0

    def _sizes(self) -> tuple[int, float]:
        """Return the number of outputs or output channels, and the products in a sum."""
        return len(self.weight), self.weight[0].numel()

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *rest: Any, **more: Any
    ) -> None:
        check_loaded(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)

    def reset_parameters(self) -> None:
        """Set the bias to zero; the constructor draws the signs."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def _scale_and_shift(self, sums: Tensor, dims: int = 0) -> Tensor:
        """Apply scale and bias, a number for each output, before this many dimensions."""
        shape = (-1, *[1] * dims)
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
        return self._scale_and_shift(linear(input, self.weight))


class BinaryConvolution(_BinaryLayer):
    """Convolution, times a scale, plus a bias, with every weight exactly -1 or +1.

    Args:
        in_channels: Input channels C.
        out_channels: Output channels.
        kernel_size: Side (or sides) of the kernel.
        stride: As in torch's layer; so for the next three.
        padding: See stride; the border is padded with zeros.
        dilation: See stride.
        groups: See stride.
        bias: Whether to add a real bias.
        scale: As for `BinaryLinear`; the fan-in is C / groups times the kernel's places.
        generator: Draws the initial signs; torch's default generator if None.
    """

    kernel_size: Any  # torch types these per layer
    _conv_forward: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides,
        stride: Sides = 1,
        padding: Sides | str = 0,
        dilation: Sides = 1,
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
        """Map `(B, C, ...)` to `(B, out_channels, ...)`."""
        sums = self._conv_forward(input, self.weight, None)
        return self._scale_and_shift(sums, len(self.kernel_size))


class BinaryConv1d(BinaryConvolution, nn.Conv1d):
    """`torch.nn.Conv1d` with signs for weights; its arguments are those of its first base."""


class BinaryConv2d(BinaryConvolution, nn.Conv2d):
    """`torch.nn.Conv2d` with signs for weights; its arguments are those of its first base."""


class BinaryConv3d(BinaryConvolution, nn.Conv3d):
    """`torch.nn.Conv3d` with signs for weights; its arguments are those of its first base."""


class BinaryTransposed(_BinaryLayer):
    """Transposed convolution, times a scale, plus a bias, with every weight exactly -1 or +1.

    It takes the arguments of torch's layer in its order, then `scale` and `generator` as in
    `BinaryConvolution`. The fan-in is C / groups times the kernel's side over the stride, per
    dimension: so many products are in a sum on average.
    """

    in_channels: int
    out_channels: int
    kernel_size: Any  # torch types these per layer
    stride: Any
    padding: Any
    dilation: Any
    groups: int
    _output_padding: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sides,
        stride: Sides = 1,
        padding: Sides = 0,
        output_padding: Sides = 0,
        groups: int = 1,
        bias: bool = False,
        dilation: Sides = 1,
        scale: Scale = "fan-in",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias,
            dilation,
        )  # fmt: skip
        self._make_binary(scale, generator)

    def _sizes(self) -> tuple[int, float]:
        places = zip(self.kernel_size, self.stride, strict=True)
        fan_in = self.in_channels / self.groups * math.prod(max(1, k / s) for k, s in places)
        return self.out_channels, fan_in

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map `(B, C, ...)` to `(B, out_channels, ...)`, of `output_size` if it is given."""
        dims = len(self.kernel_size)
        more = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, dims, self.dilation
        )
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims - 1]
        sums = convolve(
            input, self.weight, None, self.stride, self.padding, more, self.groups, self.dilation
        )
        return self._scale_and_shift(sums, dims)


class BinaryConvTranspose1d(BinaryTransposed, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with signs for weights; its arguments are its first base's."""


class BinaryConvTranspose2d(BinaryTransposed, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with signs for weights; its arguments are its first base's."""


class BinaryConvTranspose3d(BinaryTransposed, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` with signs for weights; its arguments are its first base's."""


BINARY: dict[type[nn.Module], type[_BinaryLayer]] = {
    nn.Linear: BinaryLinear,
    Linear: BinaryLinear,
    nn.Conv1d: BinaryConv1d,
    nn.Conv2d: BinaryConv2d,
    nn.Conv3d: BinaryConv3d,
    nn.ConvTranspose1d: BinaryConvTranspose1d,
    nn.ConvTranspose2d: BinaryConvTranspose2d,
    nn.ConvTranspose3d: BinaryConvTranspose3d,
}
"""What real layers become."""

WEIGHT_LAYERS = tuple(BINARY)
"""The linear and convolutional layers, binary ones and other subclasses with them."""


def weight_of(layer: nn.Module) -> nn.Parameter:
    """Return the weight of a linear or convolutional layer."""
    weight = layer._parameters["weight"]
    assert weight is not None
    return weight
