"""Read options from the signature of a constructor and the docstring of its class.

A keyword's annotation gives the type and, in `Annotated`, bounds (`bnnlab.markers`). Its entry
under Args (of a dataclass: Attributes) is the help. `**options` stands for the keywords of the next
class; what has no entry in its own class has that of a base.
"""

import ast
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from inspect import Parameter, cleandoc, getsource, signature
from textwrap import dedent
from types import NoneType
from typing import Any

from bnnlab.errors import StoppedError, UsageError, explain
from bnnlab.guards import ambient
from bnnlab.markers import Marker, Part
from bnnlab.registry.declaration import Option, When, with_capabilities
from bnnlab.registry.forms import forms, marks, python_type
from bnnlab.registry.options import check_value
from bnnlab.registry.source import FOREIGN, Stub, UnreadableError, read_class

_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:(?: .*)?\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+)(?: \(.*?\))?:(.*(?:\n(?: .*)?)*)", re.MULTILINE)
_KEYWORD = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


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
            return options_of(read_class(self.target), self.fixed)
        except UnreadableError:
            made = imported(self.target)
            if not isinstance(made, type):
                raise UsageError("it is no class, which a component must be") from None
            return options_of(made, self.fixed)

    def __len__(self) -> int:
        return len(self._options)

    def __getitem__(self, index: Any) -> Any:
        """Return one option, or some."""
        return self._options[index]


def options_of(made: type, fixed: Collection[str] = ()) -> list[Option]:
    """Return the options of a class or of its stub, without the `fixed` keywords.

    Those that it declares itself come first; those of its bases are shared.

    Raises:
        UsageError: On a keyword without a default, or an option whose type is not known.
        UnreadableError: For a stub, on an annotation that is not plain.
    """
    found: dict[str, tuple[Parameter, Any, bool]] = {}
    helps: dict[str, str] = {}
    closed, passes_on = {*fixed}, True
    for each in made.__mro__:
        if each.__module__.partition(".")[0] in FOREIGN:
            continue
        helps = entries(cleandoc(vars(each).get("__doc__") or "")) | helps
        function = vars(each).get("__init__")
        if isinstance(function, UnreadableError):
            raise function
        if function is None or not passes_on:
            continue
        parameters = [*signature(function).parameters.values()][1:]  # not self
        shared = each is not made
        keywords = {it.name: (it, function, shared) for it in parameters if it.kind in _KEYWORD}
        found |= {name: keyword for name, keyword in keywords.items() if name not in closed}
        passes_on = any(it.kind is Parameter.VAR_KEYWORD for it in parameters)
        closed |= keywords.keys() | (_set_beside(function) if passes_on else set())
    options = (_option(*keyword, helps.get(name, "")) for name, keyword in found.items())
    return [option for option in options if option is not None]


def _set_beside(function: Any) -> set[str]:
    """Return the keywords that a constructor with `**options` sets when it passes them on."""
    try:
        node: Any = (
            getattr(function, "node", None) or ast.parse(dedent(getsource(function))).body[0]
        )
    except (OSError, TypeError, SyntaxError, ValueError):  # no source, or not its own
        return set()
    rest = node.args.kwarg.arg
    calls = (it for it in ast.walk(node) if isinstance(it, ast.Call))
    passing = (
        call.keywords
        for call in calls
        if any(it.arg is None and ast.unparse(it.value) == rest for it in call.keywords)
    )
    return {it.arg for keywords in passing for it in keywords if it.arg is not None}


def _option(parameter: Parameter, function: Any, shared: bool, meaning: str) -> Option | None:
    """Return the option of a keyword; None if its type cannot be typed on a command line."""
    name, default = parameter.name, parameter.default
    annotation = _annotation(parameter, function)
    annotation = type(default) if annotation is Parameter.empty else annotation
    said = _said(name, annotation)
    try:
        kind = str if "part" in said else python_type(forms(annotation))
    except ValueError:
        return None
    if kind is NoneType:
        return None
    if default is Parameter.empty:
        raise UsageError(f"{name} has no default: give it one, or fix its value by `preset`")
    if default is Stub:
        raise UnreadableError(f"the default of {name} is not plain")
    default = list(default) if isinstance(default, tuple) else default
    return Option(name, kind, default, meaning, shared=shared, **said)


def _said(name: str, annotation: Any) -> dict[str, Any]:
    """Return what the markers in an annotation say, as attributes of `Option`."""
    found: dict[str, Any] = {}
    for mark in marks(annotation):
        if isinstance(mark, type) and issubclass(mark, Marker):
            marker, what = mark.__name__, "kind" if mark is Part else "number"
            raise UsageError(f"{name}: {marker} needs its {what}: write {marker}(...)")
        if isinstance(mark, Part):
            found["part"] = mark
        elif isinstance(mark, Marker):
            found |= vars(mark)
    return found


def _annotation(parameter: Parameter, function: Any) -> Any:
    found = parameter.annotation
    try:
        while isinstance(found, str):
            found = eval(found, function.__globals__)
    except Exception as error:
        if hasattr(function, "node"):
            raise UnreadableError(f"{found}: {error}") from error
        if type(parameter.default) in (bool, int, float, str):
            raise UsageError(
                f"{parameter.name}: the type {found} cannot be read ({error}). Import its names "
                "outside of `if TYPE_CHECKING`"
            ) from error
        return Stub  # names that are imported for type checkers alone: no type of an option
    return found


def entries(doc: str) -> dict[str, str]:
    """Return the entries under Args or Attributes of a docstring, each on one line."""
    found: dict[str, str] = {}
    for section in _SECTION.findall(doc + "\n"):
        for name, text in _ENTRY.findall(dedent(section)):
            found.setdefault(name, " ".join(text.split()))
    return found


def imported(target: str, whose: str = "") -> Any:
    """Import `package.module:attribute`; what this changes in the process is put back.

    Args:
        target: What is imported.
        whose: The distribution that a warning names; the target by default.

    Raises:
        UsageError: If it cannot be imported, with the reason.
    """
    module, _, name = target.partition(":")
    known = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if known is not None:  # nothing is executed
        return known
    try:
        with ambient.kept(f"{whose or target}, while {target} was imported,"):
            return getattr(import_module(module), name)
    except (KeyboardInterrupt, StoppedError):
        raise
    except BaseException as error:
        raise UsageError(explain(error)) from error
