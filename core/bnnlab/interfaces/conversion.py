"""The record of a conversion: which parts became binary, and which stayed real."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of a module that has weights: a parameter of two or more dimensions.

    Attributes:
        name: Its name in the module; empty for the module itself.
        kind: The name of its class before the conversion.
        weights: The number of its weights, without those that an earlier part shares.
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
        binary: The parts whose weights are now -1 and +1.
        real: The parts that have real weights, each with the reason.
        signs: The names of the activations that became `Sign`.
        checked: Whether the outputs of all paths were compared on probe inputs. This needs
            `input_shape`.
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
