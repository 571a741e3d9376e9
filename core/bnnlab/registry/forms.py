"""The types that options may have. A type is some *forms*, of which a value has one."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from numbers import Integral, Real
from operator import or_
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True)
class Form:
    """One form of an option's values: a plain type, single values, or a list.

    Attributes:
        type: As Python writes it, without `Annotated`.
        values: Of a `Literal`: its values. Of None: the word that is typed for it, `none`.
        items: Of a list: the forms of its elements.
    """

    type: Any
    values: tuple[Any, ...] = ()
    items: tuple["Form", ...] = ()

    def __str__(self) -> str:
        if self.items:
            return f"list of {_either(self.items)}"
        return _either(map(repr, self.values)) or str(self.type.__name__)

    @property
    def with_article(self) -> str:
        """The form as part of a sentence: `an int`, `a list of int`, `'none'`."""
        return str(self) if self.values else f"{'an' if self.type is int else 'a'} {self}"

    def take(self, value: Any) -> Any:
        """Return a value in this form; raise ValueError if it does not have it."""
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if self.type is NoneType and (value is None or value == "none"):
            return None
        if any(type(value) is type(each) and value == each for each in self.values):
            return value
        if self.items and isinstance(value, list | tuple):
            return [take(self.items, each) for each in value]
        if self.type is int and is_number and isinstance(value, Integral):
            return int(value)
        if self.type is float and is_number:
            with suppress(OverflowError):  # an integer too large for a float
                if math.isfinite(number := float(value)):
                    return number
        if self.type is str and isinstance(value, PurePath):
            return str(value)
        if self.type in (bool, str) and type(value) is self.type:
            return value
        raise ValueError


def forms(annotation: Any) -> tuple[Form, ...]:
    """Return the forms of a type. `Annotated` is looked through, and a `Sequence` is a list.

    Raises:
        ValueError: If its values cannot be typed on a command line.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return forms(parts[0])
    if origin in (Union, UnionType):
        return tuple(form for part in parts for form in forms(part))
    if origin is Literal:
        return (Form(annotation, values=parts),)
    if origin in (list, Sequence) and parts:
        items = forms(parts[0])
        return (Form(list[python_type(items)], items=items),)  # type: ignore[misc]
    if annotation in (None, NoneType):
        return (Form(NoneType, values=("none",)),)
    if annotation in (int, float, bool, str):
        return (Form(annotation),)
    raise ValueError(
        f"type {annotation!r} is not one of int, float, bool, str, None, list[...], Literal[...] "
        "or a union of them"
    )


def python_type(each: Iterable[Form]) -> Any:
    """Return the type whose values have one of these forms."""
    return reduce(or_, (form.type for form in each))


def take(each: Iterable[Form], value: Any) -> Any:
    """Return a value in the first of these forms that it has; raise ValueError if it has none."""
    for form in sorted(each, key=lambda form: form.type is not NoneType):  # 'none' is a str too
        with suppress(ValueError):
            return form.take(value)
    raise ValueError


def describe_type(kind: Any) -> str:
    """Return a type as a person writes it: `int`, `list of int`, `'a' or 'b'`."""
    return _either(forms(kind))


def literals(kind: Any) -> list[Any]:
    """Return the values that a type, or that of its elements, names one by one."""
    every = (each for form in forms(kind) for each in (form, *form.items))
    return [value for form in every if form.type is not NoneType for value in form.values]


def marks(annotation: Any) -> list[Any]:
    """Return what `Annotated` says in all parts of a type; what is outside comes last."""
    inner = [mark for part in get_args(annotation) for mark in marks(part)]
    return [*inner, *getattr(annotation, "__metadata__", ())]


def _either(ways: Iterable[Any]) -> str:
    return " or ".join(map(str, ways))
