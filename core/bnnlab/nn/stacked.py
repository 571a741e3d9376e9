"""Layers of S models in one: weights `(S, ...)`, inputs `(S, B, ...)`."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.nn.activations import SMOOTH
from bnnlab.nn.linear import BinaryLinear, Linear
from bnnlab.nn.normalization import BatchNorm

ELEMENTWISE = (*SMOOTH.values(), nn.Identity, nn.LayerNorm)
"""Modules that compute the same with dimensions in front, if they have no weights there."""


def fits(leaf: Any) -> bool:
    """Return whether a layer can be one of S in a stack."""
    takes = getattr(leaf, "leading_draws", False) and not [*leaf.parameters(), *leaf.buffers()]
    return takes or type(leaf) in (*ELEMENTWISE, *IN_STACK)


class _Product(torch.autograd.Function):
    """x @ weight.T of S models. Gradients have the layout of what they are of: none is copied."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return torch.bmm(x, weight.mT)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        into = torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None
        return into, torch.bmm(grad.mT, x)


class _StackLinear(nn.Linear):
    """Linear layers of S models, real or binary."""

    leading_draws = True

    def forward(self, input: Tensor) -> Tensor:
        """Map `(S, B, inputs)` to `(S, B, outputs)`, also with draws in front."""
        weight = self.weight
        if weight.ndim > 3 or torch.is_autocast_enabled(input.device.type):
            y = input @ weight.mT
        else:
            y = _Product.apply(input, weight)
        if isinstance(self, BinaryLinear):
            y = y * (self.fixed_scale if self.scale is None else self.scale[:, None])
        return y if self.bias is None else y + self.bias[:, None]


class _StackBinaryLinear(_StackLinear, BinaryLinear):
    """Binary linear layers of S models."""


class _LayerNorm(nn.LayerNorm):
    """Layer normalisation of S models, with a gain and a shift `(S, features)`."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `(S, B, features)`, also with draws in front."""
        y = F.layer_norm(input, self.normalized_shape, eps=self.eps)
        y = y if self.weight is None else y * self.weight[:, None]
        return y if self.bias is None else y + self.bias[:, None]


class _BatchNorm(BatchNorm):
    """Batch normalisation of S models, each with the statistics of its own batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `(S, B, features)`, as S * features of B rows."""
        models, rows, features = x.shape
        kept = [each[:, self.slot].flatten().clone() for each in (self.mean, self.variance)]
        keep = self.statistics != "recalibrated"
        y = F.batch_norm(
            x.transpose(0, 1).reshape(rows, -1),
            kept[0] if keep else None,
            kept[1] if keep else None,
            None if self.gamma is None else self.gamma.flatten(),
            None if self.beta is None else self.beta.flatten(),
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
        for statistic, value in zip((self.mean, self.variance), kept, strict=True):
            statistic[:, self.slot] = value.view(models, features)
        return y.view(rows, models, features).transpose(0, 1)


IN_STACK: dict[type, type] = {
    Linear: _StackLinear,
    BinaryLinear: _StackBinaryLinear,
    nn.LayerNorm: _LayerNorm,
    BatchNorm: _BatchNorm,
}
"""The layers of a stack, in the place of these. Only the class of a layer is changed."""
