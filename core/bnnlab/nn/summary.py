"""Count what the segments of a model store and compute, binary and real."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bnnlab.guards.module_state import undisturbed
from bnnlab.guards.probing import probe_inputs
from bnnlab.interfaces.fused import fused_paths_off
from bnnlab.interfaces.model import Model, segment_outputs
from bnnlab.nn.layers import WEIGHT_LAYERS

Shape = tuple[int, ...]


def _flops(x: Shape, *weights: Shape) -> int:
    """Return the FLOPs of products of `x` with matrices of these shapes."""
    return 2 * prod(x[:-1]) * sum(prod(weight) for weight in weights if len(weight) > 1)


_FLOPS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.mkldnn_rnn_layer: lambda x, one, two, *_, **__: _flops(x, one, two),
    torch.ops.aten._cudnn_rnn: lambda x, weights, *_, **__: _flops(x, *weights),
    torch.ops.aten._trilinear: lambda x, weight, *_, **__: _flops(x, weight),
    # Each query meets each key, and each value.
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: (
        2 * prod(q[:-1]) * k[-2] * (k[-1] + v[-1])
    ),
}
"""Operations that torch's counter omits: fused recurrent layers, `nn.Bilinear` and, in torch 2.6 to
2.11 at least, attention on the CPU."""


@dataclass(frozen=True)
class Counts:
    """Parameters and the multiply-accumulates of one example.

    Attributes:
        binary: Parameters that are -1 or +1 when deployed, each counted once in a model.
        real: All others.
        binary_macs: Products of a binary weight and an input that is -1 or +1: XNORs.
        other_macs: All others, of attention too.
    """

    binary: int = 0
    real: int = 0
    binary_macs: int = 0
    other_macs: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Counts(*(one + another for one, another in pairs))

    @property
    def share(self) -> float:
        """Return the binary share of the parameters."""
        return self.binary / max(1, self.binary + self.real)

    @property
    def bytes_packed(self) -> int:
        """Return the bytes of the parameters with eight signs in one, float32 for real ones."""
        return -(-self.binary // 8) + 4 * self.real

    @property
    def bytes_unpacked(self) -> int:
        """Return the bytes of the parameters at float32."""
        return 4 * (self.binary + self.real)


@dataclass(frozen=True)
class Segment:
    """One row of a summary.

    Attributes:
        contents: Its modules, for people.
        output: Shape of its output for one example.
        counts: What it stores and computes; parameters that an earlier segment has are not counted.
    """

    contents: str
    output: tuple[int, ...]
    counts: Counts


def summarise(model: Model) -> list[Segment]:
    """Return one row per segment, from a run on one random input (numbers or token ids).

    Raises:
        ValueError: If the model does not know its input's shape.
        UsageError: If its segments do not fit, see `bnnlab.interfaces.model.segment_outputs`.
    """
    if model.input_shape is None:
        raise ValueError("the model must know its input's shape: pass input_shape=(...) to Model()")
    x = probe_inputs(model, model.input_shape, model.segments[0], model.tokens)
    binary, counted = set(model.binary_parameters().values()), set[Tensor]()
    rows, before = [], (0, 0)
    with undisturbed(model), fused_paths_off(), _counting(model.eval(), binary) as count:
        outputs = segment_outputs(model, x[:1])
        for segment, y in zip(model.segments, outputs, strict=True):
            fresh = [p for p in segment.parameters() if p not in counted]
            counted.update(fresh)
            signs = sum(p.numel() for p in fresh if p in binary)
            reals = sum(p.numel() for p in fresh) - signs
            after = count()
            macs, binary_macs = (now - then for now, then in zip(after, before, strict=True))
            counts, before = Counts(signs, reals, binary_macs, macs - binary_macs), after
            rows.append(Segment(_contents(segment), tuple(y.shape[1:]), counts))
    return rows


@contextmanager
def _counting(model: Model, binary: set[nn.Parameter]) -> Iterator[Callable[[], tuple[int, int]]]:
    """Count operations; yield a function that returns all and binary multiply-accumulates."""
    binary_macs = 0

    def note(layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any], y: Tensor) -> None:
        nonlocal binary_macs
        weight, x = getattr(layer, "weight", None), (*args, *named.values())[0]
        if weight in binary and bool((x.abs() == 1).all()):
            # An output is a sum over weight[0]; in a transposed convolution an input is spread so.
            each = x if getattr(layer, "transposed", False) else y
            binary_macs += each.numel() * weight[0].numel()

    layers = [part for part in model.modules() if isinstance(part, WEIGHT_LAYERS)]
    handles = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
    try:
        with (
            FlopCounterMode(display=False, custom_mapping=_FLOPS) as counter,
            _undecorated(type(counter.mode)),
        ):
            yield lambda: (counter.get_total_flops() // 2, binary_macs)
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _undecorated(mode: Any) -> Iterator[None]:
    """Let a mode call the function behind torch's decorator, which imports torch's compiler."""
    decorated = mode.__torch_dispatch__
    mode.__torch_dispatch__ = inspect.unwrap(decorated)
    try:
        yield
    finally:
        mode.__torch_dispatch__ = decorated


def _contents(segment: nn.Module) -> str:
    """Return the names of a segment's modules in order, `3 Linear` for three in a row."""
    names = [type(m).__name__ for m in segment.modules() if not [*m.children()]]
    runs = [(name, len(list(each))) for name, each in groupby(names)]
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in runs)
