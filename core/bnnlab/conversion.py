"""What a conversion made binary, what it left real, and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from bnnlab.layers import WEIGHT_LAYERS, binary_parameters

TABLES = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True)
class Part:
    """A part of a module with weights of its own: a parameter of two dimensions or more.

    Attributes:
        name: Its name in the module; empty for the module itself.
        kind: Its class when it was found.
        weights: How many weights it has; those shared with a part named before are not counted.
        reason: Why it stays real; empty if it became binary.
    """

    name: str
    kind: str
    weights: int
    reason: str = ""


@dataclass(frozen=True)
class Conversion:
    """What `bnnlab.binarize` did to a module.

    Attributes:
        binary: The parts whose weights are signs now.
        real: The parts that have real weights, each with the reason.
        signs: Names of the activations that became `Sign`.
        checked: Whether the paths were compared on a probe batch, for which `input_shape` is
            needed.
    """

    binary: tuple[Part, ...]
    real: tuple[Part, ...]
    signs: tuple[str, ...] = ()
    checked: bool = False

    def __str__(self) -> str:
        binary, real = (sum(p.weights for p in parts) for parts in (self.binary, self.real))
        parts = f"{len(self.binary)} part{'s' if len(self.binary) > 1 else ''}"
        lines = [f"{binary:,} of {binary + real:,} weights became binary, in {parts}"]
        if not self.checked:
            lines[0] += ", without a run on probe inputs"
        if self.real:
            lines[0] += "; these stay real:"
        for reason in dict.fromkeys(part.reason for part in self.real):
            alike = [part for part in self.real if part.reason == reason]
            names = ", ".join(f"{p.name} ({p.kind})".strip() for p in alike[:3])
            more = f" and {len(alike) - 3} more" if len(alike) > 3 else ""
            lines.append(f"  {sum(p.weights for p in alike):,} in {names}{more}: {reason}")
        return "\n".join(lines)


def weights_of(part: nn.Module) -> list[Tensor]:
    """Return the parameters of two dimensions or more that are a part's own."""
    own = [*part.parameters(recurse=False)]
    if parametrize.is_parametrized(part):
        own += part.get_submodule("parametrizations").parameters()
    return [parameter for parameter in own if parameter.ndim > 1]


def parts_with_weights(module: nn.Module) -> dict[nn.Module, str]:
    """Return the parts that have weights of their own, with their names."""
    return {
        part: name
        for name, part in module.named_modules()
        if weights_of(part) or isinstance(part, WEIGHT_LAYERS)
        if "parametrizations" not in name.split(".")
    }


def report(
    module: nn.Module,
    kinds: Mapping[str, str],
    reasons: Mapping[str, str],
    signs: Iterable[str],
    checked: bool,
) -> Conversion:
    """Return what became of a module's parts with weights.

    Args:
        module: After its conversion.
        kinds: What these parts were before it, by name.
        reasons: Why parts stay real, by name.
        signs: See `Conversion`; so for the next.
        checked: See signs.
    """
    modules, signed = dict(module.named_modules()), set(binary_parameters(module).values())
    counted: set[Tensor] = set()
    binary, real = [], []
    for name, kind in kinds.items():
        own = weights_of(modules[name])
        count = sum(p.numel() for p in own if p not in counted)
        counted.update(own)
        if any(p in signed for p in own):
            binary.append(Part(name, kind, count))
        else:
            real.append(Part(name, kind, count, reasons[name]))
    return Conversion(tuple(binary), tuple(real), tuple(signs), checked)
