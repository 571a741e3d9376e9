"""The transformer block, real or binary.

With x the residual stream, `(B, T, D)` for T tokens of D channels, a block is

    x <- x + Attention(LayerNorm(x))
    x <- x + MLP(LayerNorm(x))

(Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, eqs. 2-3). In a binary layer all
weights and inputs are -1 or +1. A sign with a surrogate gradient makes its inputs, and its outputs
are multiplied by a real learned scale per output. The residual stream is real.

The input of each sign has a learned shift: the bias of the normalisation, of the first layer of the
MLP, or of the values. Attention keeps the bias of the values, because its weights sum to one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.nn.layers import BinaryLinear, Linear, Sign, Surrogate

EPSILON = 1e-6
"""eps of layer normalisation, as in torchvision's vision transformer."""
SPREAD = 0.02
"""Standard deviation of the initial weights of real layers, of positions and of the class token."""


def real_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a real linear layer, initialised as in the paper's code."""
    layer = Linear(inputs, outputs)
    nn.init.trunc_normal_(layer.weight, std=SPREAD)
    nn.init.zeros_(layer.bias)
    return layer


def _linear(binary: bool, inputs: int, outputs: int) -> nn.Linear:
    if not binary:
        return real_linear(inputs, outputs)
    layer = BinaryLinear(inputs, outputs, bias=True, scale="learned")
    assert layer.scale is not None
    with torch.no_grad():
        # Outputs have an initial standard deviation of 1/2, within the surrogate's window. The bias
        # keeps them from being exactly 0.
        layer.scale.mul_(0.5)
        layer.bias.uniform_(-0.5 / math.sqrt(inputs), 0.5 / math.sqrt(inputs))
    return layer


class Product(nn.Module):
    """softmax(Q K^T / sqrt(d)) V, for Q, K and V of shape `(..., T, d)`."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the weighted means of the values, `(..., T, d)`."""
        return F.scaled_dot_product_attention(q, k, v)


class BinaryProduct(nn.Module):
    """The product of attention with binary queries, keys, values and weights.

    Queries, keys and values are signs. With P the softmax of Q K^T / sqrt(d), the weights of the
    values are A = alpha round(clip(P / alpha, 0, 1)), 0 or alpha. Each head learns its alpha (the
    elastic binarisation, without its offset, of Liu et al., "BiT: Robustly Binarized
    Multi-distilled Transformer", NeurIPS 2022). The gradient passes through the rounding: dA/dP is
    1 where P < alpha, and dA/dalpha = round(P / alpha) - P / alpha there (Esser et al., "Learned
    Step Size Quantization", ICLR 2020, eq. 3).

    The learned parameter is log(alpha), so alpha is positive. Initially alpha = min(1, 2 / T):
    weights above the mean are alpha, the others 0. The sign removes the values' bias, so a learned
    shift is added to the output.

    Args:
        heads: Number of heads.
        head_dim: d, the number of channels of a head.
        tokens: T, the number of tokens.
        surrogate: Surrogate gradient of the signs.
    """

    def __init__(self, heads: int, head_dim: int, tokens: int, surrogate: Surrogate) -> None:
        super().__init__()
        self.sign = Sign(surrogate)
        self.log_alpha = nn.Parameter(torch.full((heads, 1, 1), math.log(min(1, 2 / tokens))))
        self.shift = nn.Parameter(torch.zeros(heads, 1, head_dim))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q, k and v, `(..., heads, T, d)`, to weighted sums of the values, in this shape."""
        q, k, v = self.sign(q), self.sign(k), self.sign(v)
        P = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        alpha = self.log_alpha.exp()
        ratio = (P / alpha).clamp(0, 1)
        rounded = ratio + (ratio.round() - ratio).detach()
        weighted: Tensor = (alpha * rounded) @ v + self.shift
        return weighted


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        dim: D, the number of channels of a token.
        heads: Number of heads; divides D.
        product: Maps queries, keys and values to the output of the heads.
        surrogate: Surrogate gradient of the signs before the binary layers. None: real layers.
    """

    def __init__(
        self, dim: int, heads: int, product: nn.Module, surrogate: Surrogate | None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.sign = nn.Identity() if surrogate is None else Sign(surrogate)
        self.qkv = _linear(surrogate is not None, dim, 3 * dim)
        self.product = product
        self.out = _linear(surrogate is not None, dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., T, D)` to the same shape."""
        qkv = self.qkv(self.sign(x)).unflatten(-1, (3, self.heads, -1))  # (..., T, 3, heads, d)
        q, k, v = (each.transpose(-2, -3) for each in qkv.unbind(-3))
        heads = self.product(q, k, v)
        y: Tensor = self.out(self.sign(heads.transpose(-2, -3).flatten(-2)))
        return y


class MLP(nn.Module):
    """Two linear layers with an activation, applied to every token.

    Args:
        dim: D, the number of channels of a token.
        hidden: Units between the layers.
        surrogate: Surrogate gradient of the signs before the binary layers; the second sign is the
            activation. None: real layers and GELU.
    """

    def __init__(self, dim: int, hidden: int, surrogate: Surrogate | None) -> None:
        super().__init__()
        self.sign = nn.Identity() if surrogate is None else Sign(surrogate)
        self.fc1 = _linear(surrogate is not None, dim, hidden)
        self.activation = nn.GELU() if surrogate is None else Sign(surrogate)
        self.fc2 = _linear(surrogate is not None, hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., D)` to the same shape."""
        y: Tensor = self.fc2(self.activation(self.fc1(self.sign(x))))
        return y


class Block(nn.Module):
    """A transformer block; see this module.

    Args:
        dim: D, the number of channels of a token.
        attention: The attention.
        mlp: The MLP.
    """

    def __init__(self, dim: int, attention: Attention, mlp: MLP) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim, EPSILON), attention
        self.norm2, self.mlp = nn.LayerNorm(dim, EPSILON), mlp

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, T, D)` to the same shape."""
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y
