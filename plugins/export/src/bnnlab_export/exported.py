"""What an export has, as `bnn export` prints it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bnnlab.engine.figures import score_of

WIDTHS = {"bit_linear": "1 bit", "bit_conv": "1 bit", "plane_linear": "1 x 8 bits"}
"""How wide weights and inputs of an op are; of others, 32 bits."""
NAMED = 5
"""So many layers are named for a reason."""

SLOW = "no layer has both weights and inputs that are signs, so nothing would be faster"
SMALL = "For a small file all the same: --weights-only, weights_only=True."


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        place: Where it is in the model.
        op: The step that it became.
        operations: Multiply-accumulates of one image.
        weight_bits: Bits of a weight in the file.
        why: Why it computes with real numbers; empty if it does not.
    """

    place: str
    op: str
    operations: int
    weight_bits: int
    why: str


@dataclass(frozen=True, eq=False)
class Contents:
    """What a file has.

    Attributes:
        bytes: Its size.
        bytes_unpacked: Those of the model's state_dict at float32.
        draws: Networks in the file.
        tasks: Tasks that it is told; 0 for none.
        steps: How many steps there are of each op.
        layers: The layers with weights.
        prepared: What is done to images before the file takes them, in words; empty for nothing.
        learned: How many tasks the run has learned, and of how many; None if all, or without one.
    """

    bytes: int
    bytes_unpacked: int
    draws: int
    tasks: int
    steps: Mapping[str, int]
    layers: Sequence[Layer]
    prepared: Sequence[str]
    learned: tuple[int, int] | None

    @property
    def ratio(self) -> float:
        """How many times larger the model's state_dict is, of one draw."""
        return self.bytes_unpacked / self.bytes

    def operations(self) -> dict[str, int]:
        """Return the multiply-accumulates of one image by the width of their numbers."""
        found: dict[str, int] = {}
        for layer in self.layers:
            width = WIDTHS.get(layer.op, "32 bits")
            found[width] = found.get(width, 0) + layer.operations
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return it in JSON types."""
        return {**asdict(self), "operations": self.operations()}

    def lines(self) -> list[str]:
        """Return it in words."""
        several = {"weight draws": self.draws if self.draws > 1 else 0, "tasks": self.tasks}
        held = "".join(
            f", {count} {what if count > 1 else what[:-1]}"
            for what, count in several.items()
            if count
        )
        by_width = [f"{count:,} of {width}" for width, count in self.operations().items()]
        return [
            f"{_size(self.bytes)}, 1/{self.ratio:.1f} of the state_dict "
            f"({_size(self.bytes_unpacked)}){held}",
            "steps: " + ", ".join(f"{count} {op}" for op, count in self.steps.items()),
            *(["multiply-accumulates of an image: " + ", ".join(by_width)] if by_width else []),
            *(f"stays real: {each}" for each in reasons(self.layers)),
            *(
                ["the run is not complete: {} of {} tasks are learned".format(*self.learned)]
                if self.learned
                else []
            ),
            *([f"it takes images {listed(self.prepared)}"] if self.prepared else []),
        ]


@dataclass(frozen=True, eq=False)
class Exported(Contents):
    """What a file has, and how its predictions compare with the model's.

    Attributes:
        path: The file; None if none was written.
        images: How many images were predicted by both.
        differing: For how many the predictions differ.
        unexplained: For how many of these the model in float64 predicts otherwise, too.
        score: What `accuracy` is, such as top-1 accuracy; empty without a stream.
        accuracy: Of the file on these images, the mean over the tasks; None without a stream.
        part: What was predicted, `test` or `validation`; empty without a stream.
    """

    path: Path | None
    images: int
    differing: int
    unexplained: int
    score: str
    accuracy: float | None
    part: str

    def as_dict(self) -> dict[str, Any]:
        """Return it in JSON types."""
        return {**super().as_dict(), "path": None if self.path is None else str(self.path)}

    def lines(self) -> list[str]:
        """Return it in words."""
        where = "not written" if self.path is None else f"written to {self.path}"
        first, *others = super().lines()
        return [f"{where}: {first}", *others, self._compared()]

    def _compared(self) -> str:
        on = f"images of the {self.part} part" if self.part else "random inputs"
        said = f"predictions: {self.differing:,} of {self.images:,} {on} differ from the model's"
        if self.differing:
            there = self.differing - self.unexplained
            said += f", by rounding; for {there:,} of them the model agrees in float64"
        if self.accuracy is None:
            return said
        score = score_of({"score": self.score})
        return f"{said}; {score.name} {score.text(self.accuracy)}"


def is_faster(layers: Iterable[Layer]) -> bool:
    """Return whether a layer computes with words of bits."""
    return any(each.op.startswith("bit_") for each in layers)


def reasons(layers: Iterable[Layer]) -> list[str]:
    """Return which layers compute with real numbers, by the reason."""
    found: dict[str, list[str]] = {}
    for each in layers:
        if each.why:
            found.setdefault(each.why, []).append(each.place)
    return [f"{listed(places)}: {why}" for why, places in found.items()]


def listed(places: Sequence[str]) -> str:
    """Return the first places, and how many more there are."""
    more = len(places) - NAMED
    return ", ".join([*places[:NAMED], *([f"{more} more"] if more > 0 else [])])


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.2f} MB"
