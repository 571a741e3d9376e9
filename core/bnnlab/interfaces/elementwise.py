"""Elementwise updates: chunks that stay in the cache, and Adam."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

CPU_CHUNK = 1 << 19
"""Elements per chunk on the CPU: the tensors of one chunk fit into the last cache."""


def chunks(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Cut tensors of one shape into equal views, for an elementwise update of one view at a time.

    On the CPU a dozen operations on a chunk then read and write main memory once. On other
    devices, or if the layout in memory allows no flat view, the tensors stay whole.
    """
    small = tensors[0].numel() <= CPU_CHUNK
    if small or tensors[0].device.type != "cpu" or not all(x.is_contiguous() for x in tensors):
        return [tensors]
    return zip(*(torch.split(x.view(-1), CPU_CHUNK) for x in tensors), strict=True)


def lying_as(like: Tensor, tensor: Tensor) -> Tensor:
    """Return a tensor with the memory layout of `like`.

    Torch's fused kernels on the CPU pair elements by their place in memory, whatever the strides.
    """
    return tensor if tensor.stride() == like.stride() else torch.empty_like(like).copy_(tensor)


def adam_step(
    values: list[Tensor],
    grads: list[Tensor],
    states: list[dict[str, Any]],
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """Step Adam (Kingma and Ba, ICLR 2015, algorithm 1) on values in place, by torch's fused code.

    Args:
        values: The tensors to update.
        grads: Their gradients.
        states: A dict per tensor with `step`, `m` and `v`, which are made if missing.
        lr: Learning rate.
        beta1: Decay of the first moment m, in [0, 1).
        beta2: Decay of the second moment v, in [0, 1).
        eps: Added to the root of the bias-corrected second moment.
        weight_decay: L2 penalty, added to the gradient.
    """
    for value, state in zip(values, states, strict=True):
        if "m" not in state:
            state["step"] = torch.zeros((), device=value.device)
            state["m"], state["v"] = torch.zeros_like(value), torch.zeros_like(value)
        state["m"], state["v"] = lying_as(value, state["m"]), lying_as(value, state["v"])
    adam(
        values,
        list(map(lying_as, values, grads)),
        [state["m"] for state in states],
        [state["v"] for state in states],
        [],
        [state["step"] for state in states],
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=lr,
        weight_decay=weight_decay,
        eps=eps,
        maximize=False,
    )
