"""Kernel matrices of a batch, and measures of dependence between two of them.

A kernel matrix of B examples is (B, B) and symmetric. Sources:

- Pogodin and Latham, "Kernelized information bottleneck leads to biologically plausible 3-factor
  Hebbian learning in deep networks", NeurIPS 2020.
- Ma, Lewis and Kleijn, "The HSIC Bottleneck: Deep Learning without Back-Propagation", AAAI 2020.
- Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012, section 8: the median distance.
"""

import torch
from torch import Tensor

DELTA = 1.0  # smooths a group's variance, as in the experiments of Pogodin and Latham
EPSILON = 1e-5  # of the normalised measure, as in Ma et al.
ROUNDING = 1e-6  # a difference smaller than this share of what it is a difference of is 0


def group(Z: Tensor, groups: int, power: float) -> Tensor:
    """Return the spread of each group of channels, v_alpha^(1 - p), of shape (B, groups).

    v_alpha = (delta + sum_n z~_{alpha n}^2) / c, where z~ is z minus the mean of its group and c
    the units of a group, every place of its channels (Pogodin and Latham, section on grouping).

    Args:
        Z: `(B, D)`, tokens `(B, T, D)` or images `(B, D, H, W)` of D channels; a group is D /
            groups channels that follow each other.
        groups: A divisor of D.
        power: p, in [0, 1).
    """
    if Z.ndim == 3:
        Z = Z.transpose(1, 2)
    Z = Z.reshape(len(Z), groups, -1)
    z = Z - Z.mean(2, keepdim=True)
    v = (DELTA + z.square().sum(2)) / z.shape[2]
    spread: Tensor = v ** (1 - power)
    return spread


def centred(F: Tensor) -> Tensor:
    """Return features `(B, d)` minus each example's mean over the d; equal ones give exactly 0."""
    C = F - F.mean(1, keepdim=True)
    rounding = C.norm(dim=1, keepdim=True) <= ROUNDING * F.norm(dim=1, keepdim=True)
    return C.masked_fill_(rounding, 0)


def gram(F: Tensor) -> Tensor:
    """Return f.f' for features `(B, d)`, the linear kernel: all that the others depend on."""
    return F @ F.T


def cosine(G: Tensor) -> Tensor:
    """Return k(f, f') = f.f' / (|f| |f'|) from the Gram matrix; 0, and no gradient, at f = 0."""
    squares = G.diagonal()
    inverse = squares.where(squares > 0, torch.inf).rsqrt()
    return G * inverse * inverse[:, None]


def gaussian(G: Tensor, width: float | Tensor) -> Tensor:
    """Return k(f, f') = exp(-|f - f'|^2 / (2 width^2)) from the Gram matrix."""
    squares = G.diagonal()
    return ((squares[:, None] + squares - 2 * G) / (-2 * width**2)).exp()


def median_distance(G: Tensor) -> Tensor:
    """Return the median of |f - f'| over pairs of examples, of the two in the middle the lower.

    It is a scalar without a graph. If it is 0 it is their mean; if that is 0, or there is no pair,
    1.
    """
    G = G.detach()
    squares = G.diagonal()
    sums = squares[:, None] + squares
    apart = sums - 2 * G
    apart = apart.masked_fill_(apart <= ROUNDING * sums, 0).sqrt_()
    one, other = torch.triu_indices(*G.shape, 1, device=G.device)
    pairs = torch.cat([apart[one, other], apart.new_ones(0 if len(G) > 1 else 1)])
    mean = pairs.mean()
    return pairs.median().where(pairs.median() > 0, mean.where(mean > 0, 1.0))


def hsic(A: Tensor, B: Tensor) -> Tensor:
    """Return the biased estimate of HSIC, tr(HAHB) / m^2 with H = I - 11'/m and m examples."""
    return (_doubly_centred(A) * B).mean()


def phsic(A: Tensor, B: Tensor) -> Tensor:
    """Return the plausible pHSIC, the mean of (A - mean A) o B (Pogodin and Latham)."""
    return ((A - A.mean()) * B).mean()


def nhsic(A: Tensor, B: Tensor) -> Tensor:
    """Return nHSIC = tr(R_A R_B), in [0, m), with R = HKH (HKH + eps m I)^-1 (Ma et al.)."""
    return (_normalised(A) * _normalised(B).T).sum()


def _normalised(K: Tensor) -> Tensor:
    K = _doubly_centred(K)
    ridge = EPSILON * len(K) * torch.eye(len(K), dtype=K.dtype, device=K.device)
    # solve() would wait for the device to see whether K + ridge is singular, which it cannot be.
    R: Tensor = torch.linalg.solve_ex(K + ridge, K)[0]
    return R


def _doubly_centred(K: Tensor) -> Tensor:
    """Return HKH."""
    return K - K.mean(0) - K.mean(1, keepdim=True) + K.mean()
