"""What an annotation says of an option: `lr: Annotated[float, Above(0), Search(1e-4, 0.1)] = 0.01`.

The option's bounds hold for each number in it, also in a list or a union.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Annotated, Any


class Marker:
    """Base of what an option's annotation may hold; its fields are those of `Option`."""


@dataclass(frozen=True)
class Part(Marker):
    """The option is another component: `base: Annotated[Maker | str, Part("optimizer")] = "sgd"`.

    A run takes its name, or a table of its name and options. The constructor gets a `bnnlab.Maker`.

    Attributes:
        kind: model, rule, optimizer or stream.
        passes: Capabilities that the outer component has, too, where this one provides them;
            `x-*` is every capability that is no one of the core's.
        needs: Capabilities that this one must provide.
        refuses: Capabilities that this one must not provide.

    Raises:
        ValueError: If one of these is a name, and no tuple of names.
    """

    kind: str
    passes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if str in map(type, (self.passes, self.needs, self.refuses)):
            raise ValueError(f"{self}: passes, needs and refuses are tuples of names, not a name")

    def passed(self, provided: Set[str]) -> Set[str]:
        """Return those of a component's capabilities that the outer one has, too."""
        return {
            name
            for name in provided
            if name in self.passes or (name.startswith("x-") and "x-*" in self.passes)
        }

    def takes(self, provided: Set[str]) -> bool:
        """Return whether this may be a component that provides these capabilities."""
        return {*self.needs} <= provided and provided.isdisjoint(self.refuses)


@dataclass(frozen=True)
class Above(Marker):
    """Numbers must be larger than this."""

    above: float


@dataclass(frozen=True)
class AtLeast(Marker):
    """Numbers must not be smaller than this."""

    minimum: float


@dataclass(frozen=True)
class Below(Marker):
    """Numbers must be smaller than this."""

    below: float


@dataclass(frozen=True)
class AtMost(Marker):
    """Numbers must not be larger than this."""

    maximum: float


@dataclass(frozen=True, init=False)
class Search(Marker):
    """What is worth trying when tuning: `Search(low, high)` for two numbers, else values.

    A range includes both ends. Each value is one that the option takes: `Search("sign", "tanh")`,
    `Search([64], [64, 64])`, `Search(None, 0.1)`.
    """

    search: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "search", values)


@dataclass(frozen=True)
class _Path(Marker):
    path: bool = True


Positive = Annotated[float, Above(0)]
"""A number above 0."""
Decay = Annotated[float, AtLeast(0), Below(1)]
"""What is left of a running mean after a step: from 0 to below 1."""
FilePath = Annotated[str, _Path()]
"""A file or folder, "" for none; see `Option.path`."""
