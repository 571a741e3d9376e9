"""Elementwise updates: chunks that stay in the cache, memory that is used again, and Adam."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from bnnlab.interfaces.step_numbers import Number

CPU_CHUNK = 1 << 18
"""Elements per chunk on the CPU: a dozen tensors of one chunk fit into the last cache."""


def chunks(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Cut tensors of one shape into equal views, for an elementwise update of one view at a time.

    On the CPU a dozen operations on a chunk then read and write main memory once. On other
    devices, or if the layout in memory allows no flat view, the tensors stay whole.
    """
    small = tensors[0].numel() <= CPU_CHUNK
    if small or tensors[0].device.type != "cpu" or not all(x.is_contiguous() for x in tensors):
        return [tensors]
    return zip(*(torch.split(x.view(-1), CPU_CHUNK) for x in tensors), strict=True)


def draw_chunks(shared: Sequence[Tensor], drawn: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of all draws, `(S, *shape)`, and `shared` ones, `(*shape)`, as `chunks` does.

    Small tensors, and those on other devices, stay whole: the `shared` ones are then broadcast.

    Yields:
        Views of the `shared` tensors, then of the `drawn` ones.
    """
    if drawn[0].numel() <= CPU_CHUNK or drawn[0].device.type != "cpu":
        yield *shared, *drawn
        return
    for number in range(len(drawn[0])):
        yield from chunks(*shared, *(tensor[number] for tensor in drawn))


def subtract(value: Tensor, change: Tensor, times: Number) -> Tensor:
    """Subtract `times * change` in place, and return the value.

    The number may be one of `Optimizer.numbers_now`.
    """
    if isinstance(times, Tensor):
        return value.addcmul_(change, times, value=-1)
    return value.sub_(change, alpha=times)


class Room:
    """Memory for large tensors of every step, which the system would clear anew each time.

    A copy has none of it.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, Tensor], Tensor] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Room, ()

    def __call__(
        self, name: str, like: Tensor, count: int, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return a tensor `(count, *like.shape)` with whatever is in it.

        The next call with the same name and `like` may return the same memory.
        """
        dtype, held = dtype or like.dtype, self._held.get((name, like))
        if (
            held is None
            or (held.dtype, held.device) != (dtype, like.device)
            or held[0].shape != like.shape
            or len(held) < count
        ):
            held = torch.empty((count, *like.shape), dtype=dtype, device=like.device)
            self._held[name, like] = held
        return held[:count]


class Scratch:
    """Memory for what an update computes on its way; for the CPU's chunks always the same.

    A copy has none of it.
    """

    def __init__(self) -> None:
        self._room = torch.empty(0, dtype=torch.uint8)  # made when the first chunk shows its type

    def __reduce__(self) -> tuple[Any, ...]:
        return Scratch, ()

    def __call__(self, like: Tensor, count: int) -> Tensor:
        """Return a tensor `(count, *like.shape)` with whatever is in it."""
        size = like.numel()
        if like.device.type != "cpu" or size > CPU_CHUNK:
            return like.new_empty((count, *like.shape))
        if self._room.dtype != like.dtype or len(self._room) < count:
            self._room = like.new_empty((count, CPU_CHUNK))
        return self._room[:count, :size].view(count, *like.shape)


def lying_as(like: Tensor, tensor: Tensor) -> Tensor:
    """Return a tensor with the memory layout of `like`.

    Torch's fused kernels on the CPU pair elements by their place in memory, whatever the strides.
    """
    return tensor if tensor.stride() == like.stride() else torch.empty_like(like).copy_(tensor)


def adam_state(value: Tensor, state: dict[str, Any]) -> dict[str, Any]:
    """Make what Adam keeps for a tensor, `step`, `m` and `v`, if it is missing; return it all."""
    if "m" not in state:
        state["step"] = torch.zeros((), device=value.device)
        state["m"], state["v"] = torch.zeros_like(value), torch.zeros_like(value)
    state["m"], state["v"] = lying_as(value, state["m"]), lying_as(value, state["v"])
    return state


def adam_step(
    values: list[Tensor],
    grads: list[Tensor],
    states: list[dict[str, Any]],
    *,
    lr: Number,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """Step Adam (Kingma and Ba, ICLR 2015, algorithm 1) on values in place, by torch's fused code.

    Args:
        values: The tensors to update.
        grads: Their gradients.
        states: A dict per tensor, as `adam_state` completes it.
        lr: Learning rate.
        beta1: Decay of the first moment m, in [0, 1).
        beta2: Decay of the second moment v, in [0, 1).
        eps: Added to the root of the bias-corrected second moment.
        weight_decay: L2 penalty, added to the gradient.
    """
    for value, state in zip(values, states, strict=True):
        adam_state(value, state)
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
