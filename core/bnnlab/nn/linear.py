"""Linear layers, real and binary, that also take one weight per draw."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.interfaces.signs import leaves_torch
from bnnlab.nn.binary_layer import BinaryLayer, Scale

WORTH = 1 << 24
"""Products of two numbers from which a matrix product is worth a look at its factors."""
ROWS = 256
"""Rows that are looked at and multiplied together, while they are in the cache."""


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x @ weight.T`, for one weight or for one weight per draw.

    Args:
        x: `(..., inputs)`; with S draws, `(B, inputs)` or `(S, B, inputs)`.
        weight: `(outputs, inputs)`; with S draws, `(S, outputs, inputs)`.

    Returns:
        `(..., outputs)`; with S draws, `(S, B, outputs)`.
    """
    if weight.ndim == 2:
        return F.linear(x, weight)
    if x.ndim == 2:  # the first layer: one product serves all draws
        together = F.linear(x, weight.flatten(0, 1))  # (B, S * outputs)
        return together.view(len(x), *weight.shape[:2]).transpose(0, 1)
    return torch.matmul(x, weight.mT)


def linear_of_signs(x: Tensor, weight: Tensor) -> Tensor | None:
    """Return what `linear` returns, computed in integers of 8 bits: four times as fast.

    Sums of fewer than 2^24 signs are whole numbers that float32 holds. So the outcome is the same
    to the last bit, in whichever order a processor adds.

    Returns:
        None where it would not be the same, or not faster: of small factors, other numbers than -1
        and +1, other types and devices, without instructions for it, under autocast or
        `torch.func`, and while gradients or a graph are recorded.
    """
    if (
        not (x.ndim == weight.ndim == 2)
        or torch.is_grad_enabled()
        or leaves_torch()
        or torch.compiler.is_compiling()  # a graph would be of this number of rows alone
        or len(x) * weight.numel() < WORTH
        or not all(type(each) in (Tensor, nn.Parameter) for each in (x, weight))
        or not all(each.dtype == torch.float32 and each.is_cpu for each in (x, weight))
        or not torch.cpu._is_vnni_supported()
        or torch.is_autocast_enabled("cpu")
        or torch._C._functorch.maybe_current_level() is not None
        or not (_are_signs(x[:1]) and _are_signs(weight))
    ):
        return None
    found, columns = x.new_empty(len(x), len(weight)), weight.to(torch.int8).T
    for rows, sums in zip(torch.split(x, ROWS), torch.split(found, ROWS), strict=True):
        if not _are_signs(rows):
            return None
        sums.copy_(torch._int_mm(rows.to(torch.int8), columns))
    return found


def _are_signs(x: Tensor) -> bool:
    least, most = torch.aminmax(x.abs())
    return float(least) == float(most) == 1


class Linear(nn.Linear):
    """A real linear layer that also takes weights `(S, outputs, inputs)`, one per draw.

    Arguments as in `torch.nn.Linear`.
    """

    leading_draws = True

    def forward(self, input: Tensor) -> Tensor:
        """Map `(..., inputs)` to `(..., outputs)`."""
        y = linear(input, self.weight)
        return y if self.bias is None else y.add(self.bias)


class BinaryLinear(BinaryLayer, nn.Linear):
    """y = scale * (x @ weight.T) + bias, with every weight exactly -1 or +1.

    The layer holds the deployed weights. If a method has latent weights, its optimizer holds them.
    A scale but `latent` does not depend on the size of latent weights: methods store importance
    there.

    Args:
        in_features: Size D of the last input dimension.
        out_features: Size of the last output dimension.
        bias: Whether to add a real bias.
        scale: `none` (1), `fan-in` (1/sqrt(D)), `learned` (one real number per output, starting
            at 1/sqrt(D)) or `latent` (the mean size of the output's latent weights, which an
            optimizer with latent weights writes after each step).
        generator: Source of the initial signs; torch's default generator if None.
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
        sums = linear_of_signs(input, self.weight)
        return self._scale_and_shift(linear(input, self.weight) if sums is None else sums)
