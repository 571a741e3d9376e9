"""Binary convolutions and transposed convolutions."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.nn.binary_layer import BinaryLayer, Scale

Sides = int | tuple[int, ...]

_TRANSPOSED: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


class BinaryConvolution(BinaryLayer):
    """Convolution, times a scale, plus a bias, with every weight exactly -1 or +1.

    Args:
        in_channels: Input channels C.
        out_channels: Output channels.
        kernel_size: Side (or sides) of the kernel.
        stride: As in torch's layer.
        padding: As in torch's layer; the border is padded with zeros.
        dilation: As in torch's layer.
        groups: As in torch's layer.
        bias: Whether to add a real bias.
        scale: As in `BinaryLinear`. The fan-in is C / groups times the size of the kernel.
        generator: Source of the initial signs; torch's default generator if None.
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
    """`torch.nn.Conv1d` with weights -1 and +1. Arguments as in `BinaryConvolution`."""


class BinaryConv2d(BinaryConvolution, nn.Conv2d):
    """`torch.nn.Conv2d` with weights -1 and +1. Arguments as in `BinaryConvolution`."""


class BinaryConv3d(BinaryConvolution, nn.Conv3d):
    """`torch.nn.Conv3d` with weights -1 and +1. Arguments as in `BinaryConvolution`."""


class BinaryTransposed(BinaryLayer):
    """Transposed convolution, times a scale, plus a bias, with every weight exactly -1 or +1.

    Arguments as in torch's layer and in its order, then `scale` and `generator` as in
    `BinaryConvolution`. The fan-in is C / groups, times kernel side / stride for each dimension:
    the mean number of products per sum.
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
        sides = zip(self.kernel_size, self.stride, strict=True)
        overlap = math.prod(max(1, side / stride) for side, stride in sides)
        return self.out_channels, self.in_channels / self.groups * overlap

    def _by_output(self, weight: Tensor) -> Tensor:
        groups = weight.view(self.groups, -1, *weight.shape[1:])
        return groups.transpose(1, 2).flatten(0, 1)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map `(B, C, ...)` to `(B, out_channels, ...)`, of `output_size` if it is given."""
        dims = len(self.kernel_size)
        more = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, dims, self.dilation
        )
        sums = _TRANSPOSED[dims - 1](
            input, self.weight, None, self.stride, self.padding, more, self.groups, self.dilation
        )
        return self._scale_and_shift(sums, dims)


class BinaryConvTranspose1d(BinaryTransposed, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` with weights -1 and +1. Arguments as in `BinaryTransposed`."""


class BinaryConvTranspose2d(BinaryTransposed, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` with weights -1 and +1. Arguments as in `BinaryTransposed`."""


class BinaryConvTranspose3d(BinaryTransposed, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` with weights -1 and +1. Arguments as in `BinaryTransposed`."""
