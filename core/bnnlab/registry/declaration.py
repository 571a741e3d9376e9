"""An option of a component, as it is declared or as an annotation says it."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


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
        search: (low, high) or the values worth trying when tuning.
        provides: Capabilities that a value adds, e.g. `{"binary": ["binary-weights"]}`.
        requires: Capabilities that a value needs from another component.
        path: Whether it is a file or folder. It is made absolute, so that a run can be continued
            in another working directory. For a model: the file with its initial weights. Not read
            when a run is resumed or loaded.
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
    path: bool = False

    def __post_init__(self) -> None:
        if not is_typeable(self.type):
            raise ValueError(
                f"option {self.name!r}: type {self.type!r} is not one of int, float, bool, str, "
                "None, list[...], Literal[...] or a union of them"
            )


@dataclass(frozen=True)
class When:
    """What comes with a value of an option: `When("weights", "real", provides={"real-weights"})`.

    Attributes:
        option: The option's name.
        value: One of its values.
        provides: Capabilities that the component has with it.
        requires: Capabilities that another component must have.
    """

    option: str
    value: Any
    provides: Set[str] = frozenset()
    requires: Set[str] = frozenset()

    def __post_init__(self) -> None:
        if isinstance(self.provides, str) or isinstance(self.requires, str):
            raise ValueError(f"{self}: provides and requires are sets of names, not a name")


def with_capabilities(option: Option, said: Iterable[When]) -> Option:
    """Return an option with what comes with its values."""
    own = [when for when in said if when.option == option.name]
    return replace(
        option,
        provides={when.value: tuple(sorted(when.provides)) for when in own if when.provides},
        requires={when.value: tuple(sorted(when.requires)) for when in own if when.requires},
    )


def is_typeable(kind: Any) -> bool:
    """Return whether values of a type can be typed on a command line."""
    if get_origin(kind) is Literal:
        return True
    if get_origin(kind) in (Union, UnionType, list):
        return all(is_typeable(part) for part in get_args(kind))
    return kind in (int, float, bool, str, None, NoneType)


def taken_apart(annotation: Any) -> tuple[Any, list[Any]]:
    """Return an option's type and what `Annotated` says beside it; `Sequence` becomes `list`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind, inner = taken_apart(parts[0])
        return kind, [*inner, *parts[1:]]
    if origin in (Union, UnionType, list, Sequence):
        pairs = [taken_apart(part) for part in parts]
        form: Any = Union if origin is UnionType else list if origin is Sequence else origin
        kinds = tuple(kind for kind, _ in pairs)
        return form[kinds], [mark for _, its in pairs for mark in its]
    return annotation, []
