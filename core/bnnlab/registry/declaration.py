"""An option of a component, as it is declared or as an annotation says it."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from bnnlab.markers import Part
from bnnlab.registry.forms import Form, forms

BOUNDS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "above": ("above", operator.gt),
    "minimum": ("at least", operator.ge),
    "below": ("below", operator.lt),
    "maximum": ("at most", operator.le),
}
"""Per bound of an option: its words, and the comparison that must be true of a number and it."""


@dataclass(frozen=True)
class Option:
    """A keyword argument of a component's constructor.

    Raises:
        ValueError: On a type that cannot be typed on a command line.

    Attributes:
        name: The keyword.
        type: `int`, `float`, `bool`, `str`, `None`, `list[...]`, `Literal[...]` or a union of them.
        default: Used where nothing else is said; the constructor's own default.
        help: What it means, with the unit if it has one.
        minimum: Smallest allowed number (of each element in a list).
        maximum: Largest allowed number.
        above: Numbers must be larger than this.
        below: Numbers must be smaller than this.
        search: What is worth trying when tuning: two numbers are a range, all else values.
        provides: Capabilities that a value adds, e.g. `{"binary": ["binary-weights"]}`.
        requires: Capabilities that a value needs from another component.
        withholds: Capabilities that a component with this value does not have, whatever it is made
            of.
        path: Whether it is a file or folder. It is made absolute, so that a run can be continued
            in another working directory. For a model: the file with its initial weights. Not read
            when a run is resumed or loaded.
        part: The component that it is. Its type and default are then those of a name; a run also
            takes a table of name and options.
        shared: Whether others of the kind have it, too: a base class declares it.
    """

    name: str
    type: Any
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    search: tuple[Any, ...] | None = None
    provides: Mapping[Any, tuple[str, ...]] = field(default_factory=dict)
    requires: Mapping[Any, tuple[str, ...]] = field(default_factory=dict)
    withholds: Mapping[Any, tuple[str, ...]] = field(default_factory=dict)
    path: bool = False
    part: Part | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "help", re.sub(r"\bNone\b", "none", self.help))  # as it is typed
        try:
            _ = self._forms
        except ValueError as error:
            raise ValueError(f"option {self.name!r}: {error}") from None

    @cached_property
    def _forms(self) -> tuple[Form, ...]:
        """The forms that its values may have."""
        return forms(self.type)

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that it has, by the names of their attributes."""
        return {name: bound for name in BOUNDS if (bound := getattr(self, name)) is not None}

    @property
    def search_range(self) -> tuple[float, float] | None:
        """The lowest and highest number worth trying; None if it declares values, or nothing."""
        numbers = [it for it in self.search or () if type(it) in (int, float)]
        return (numbers[0], numbers[1]) if len(numbers) == len(self.search or ()) == 2 else None

    @property
    def values_with_capabilities(self) -> tuple[Any, ...]:
        """The values that change what the component provides or requires."""
        return (*self.requires, *self.provides, *self.withholds)

    def says(self, name: str) -> str:
        """Return one of its bounds in words: `at least 1`."""
        bound = self.bounds[name]
        return f"{BOUNDS[name][0]} {bound if isinstance(bound, int) else f'{bound:g}'}"


@dataclass(frozen=True)
class When:
    """What comes with a value of an option: `When("weights", "real", provides={"real-weights"})`.

    Attributes:
        option: The option's name.
        value: One of its values.
        provides: Capabilities that the component has with it.
        requires: Capabilities that another component must have.
        withholds: Capabilities that the component does not have with it.
    """

    option: str
    value: Any
    provides: Set[str] = frozenset()
    requires: Set[str] = frozenset()
    withholds: Set[str] = frozenset()

    def __post_init__(self) -> None:
        if str in map(type, (self.provides, self.requires, self.withholds)):
            raise ValueError(f"{self}: provides and requires are sets of names, not a name")


def with_capabilities(option: Option, said: Iterable[When]) -> Option:
    """Return an option with what comes with its values."""
    own = [when for when in said if when.option == option.name]
    found: dict[str, Any] = {
        what: {when.value: tuple(sorted(its)) for when in own if (its := getattr(when, what))}
        for what in ("provides", "requires", "withholds")
    }
    return replace(option, **found)
