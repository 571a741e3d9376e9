"""Linear layers, real and binary, that also take one weight per draw."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.nn.binary_layer import BinaryLayer, Scale


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
        return self._scale_and_shift(linear(input, self.weight))
