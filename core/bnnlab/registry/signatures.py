"""Read options from the signature of a constructor and the docstring of its class.

A keyword's annotation gives the type and, in `Annotated`, bounds (`bnnlab.markers`). Its entry
under Args (of a dataclass: Attributes) is the help. `**options` stands for the keywords of the next
class; what has no entry in its own class has that of a base.
"""

import re
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from inspect import Parameter
from textwrap import dedent
from types import NoneType
from typing import Any, overload

from bnnlab.errors import StoppedError, UsageError, explain
from bnnlab.guards import ambient
from bnnlab.markers import Marker
from bnnlab.registry.constructors import (
    Constructor,
    Keyword,
    constructors_of,
    read_constructors,
)
from bnnlab.registry.declaration import Option, When, is_typeable, taken_apart, with_capabilities
from bnnlab.registry.options import check_value
from bnnlab.registry.source import UnreadableError

_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:(?: .*)?\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+)(?: \(.*?\))?:(.*(?:\n(?: .*)?)*)", re.MULTILINE)


@dataclass(frozen=True)
class SignatureOptions(Sequence[Option]):
    """The options of a component's constructor, read on first use.

    Raises:
        UsageError: From every method, if they cannot be read.

    Attributes:
        target: `package.module:Class`.
        fixed: Keywords that are not options.
        when: Capabilities that depend on option values.
        argument: An option that the component's declaration names.
    """

    target: str = ""
    fixed: frozenset[str] = frozenset()
    when: tuple[When, ...] = ()
    argument: str | None = None

    @cached_property
    def _options(self) -> tuple[Option, ...]:
        try:
            found = self._read()
            named = {option.name: option for option in found}
            said = {self.argument, *(when.option for when in self.when)} - {None, *named}
            if said:
                raise ValueError(f"{said.pop()!r} is not one of its options")
            for when in self.when:
                check_value(named[when.option], when.value)
        except (UsageError, ValueError) as error:
            raise UsageError(f"{self.target}: {error}") from error
        return tuple(with_capabilities(option, self.when) for option in found)

    def _read(self) -> list[Option]:
        try:
            return options_of(read_constructors(self.target), self.fixed)
        except UnreadableError:
            return options_of(constructors_of(_load(self.target)), self.fixed)

    def __len__(self) -> int:
        return len(self._options)

    @overload
    def __getitem__(self, index: int) -> Option: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Option]: ...
    def __getitem__(self, index: int | slice) -> Option | Sequence[Option]:
        """Return one option, or some."""
        return self._options[index]


def options_of(found: Iterable[Constructor], fixed: Collection[str] = ()) -> list[Option]:
    """Return the options of the constructors of a class and its bases.

    Args:
        found: The constructors, in Python's order of look-up.
        fixed: Keywords that are not options.

    Raises:
        UsageError: On a keyword without a default.
    """
    keywords: dict[str, Keyword] = {}
    helps: dict[str, str] = {}
    closed, passes_on = {*fixed}, True
    for each in found:
        helps = entries(each.doc) | helps
        if passes_on:
            keywords |= {n: k for n, k in each.keywords.items() if n not in closed}
        closed |= each.keywords.keys() | each.sets
        passes_on &= each.passes_on
    every = (_option(name, keyword, helps) for name, keyword in keywords.items())
    return [option for option in every if option is not None]


def _option(name: str, keyword: Keyword, helps: Mapping[str, str]) -> Option | None:
    """Return the option of a keyword; None if its type cannot be typed on a command line."""
    annotation = keyword.annotation()
    if annotation is Parameter.empty:
        annotation = type(keyword.default())
    kind, beside = taken_apart(annotation)
    if kind is NoneType or not is_typeable(kind):
        return None
    default = keyword.default()
    if default is Parameter.empty:
        raise UsageError(f"{name} has no default: give it one, or fix its value by `preset`")
    default = list(default) if isinstance(default, tuple) else default
    marks = [vars(mark) for mark in beside if isinstance(mark, Marker)]
    return Option(name, kind, default, helps.get(name, ""), **dict(ChainMap(*marks)))


def entries(doc: str) -> dict[str, str]:
    """Return the entries under Args or Attributes of a docstring, each on one line."""
    found: dict[str, str] = {}
    for section in _SECTION.findall(doc + "\n"):
        for name, text in _ENTRY.findall(dedent(section)):
            found.setdefault(name, " ".join(text.split()))
    return found


def _load(target: str) -> Any:
    module, _, name = target.partition(":")
    try:
        with ambient.kept(f"{target}, while its options were read,"):
            return getattr(import_module(module), name)
    except (KeyboardInterrupt, StoppedError):
        raise
    except BaseException as error:
        raise UsageError(f"its options cannot be read: {explain(error)}") from error
