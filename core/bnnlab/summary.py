"""What a model is made of: its segments, how binary they are, what they store and compute."""

from dataclasses import dataclass
from itertools import groupby

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bnnlab.layers import WEIGHT_LAYERS
from bnnlab.model import Model
from bnnlab.modes import in_mode
from bnnlab.probing import probe_inputs


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
    """Return what each segment is, from a run on one random input, of numbers or of token ids.

    Raises:
        ValueError: If the model does not know its input's shape.
    """
    if model.input_shape is None:
        raise ValueError("the model must know its input's shape: pass input_shape=(...) to Model()")
    x = probe_inputs(model.segments[0], model.input_shape)[:1]
    binary, counted = set(model.binary_parameters().values()), set[Tensor]()
    rows = []
    for segment in model.segments:
        with in_mode(segment, training=False):
            x, binary_macs, macs = _run(segment, x.detach(), binary)
        fresh = [p for p in segment.parameters() if p not in counted]
        counted.update(fresh)
        signs = sum(p.numel() for p in fresh if p in binary)
        reals = sum(p.numel() for p in fresh) - signs
        counts = Counts(signs, reals, binary_macs, macs - binary_macs)
        rows.append(Segment(_contents(segment), tuple(x.shape[1:]), counts))
    return rows


def _run(segment: nn.Module, x: Tensor, binary: set[nn.Parameter]) -> tuple[Tensor, int, int]:
    """Return the output for one example, its binary multiply-accumulates, and all of them."""
    binary_macs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal binary_macs
        weight = getattr(layer, "weight", None)
        if weight in binary and bool((inputs[0].abs() == 1).all()):
            # An output is a sum over weight[0]; in a transposed convolution an input is spread so.
            each = inputs[0] if getattr(layer, "transposed", False) else output
            binary_macs += each.numel() * weight[0].numel()

    layers = [part for part in segment.modules() if isinstance(part, WEIGHT_LAYERS)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        with FlopCounterMode(display=False) as counter:
            x = segment(x)
    finally:
        for handle in handles:
            handle.remove()
    return x, binary_macs, counter.get_total_flops() // 2


def _contents(segment: nn.Module) -> str:
    """Return the names of a segment's modules in order, `3 Linear` for three in a row."""
    names = [type(m).__name__ for m in segment.modules() if not any(True for _ in m.children())]
    runs = [(name, len(list(each))) for name, each in groupby(names)]
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in runs)
