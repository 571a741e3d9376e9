"""The constructors of a class and its bases, from the source or from the imported class."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, cleandoc, getsource, signature
from textwrap import dedent
from typing import Any

from bnnlab.registry.source import FOREIGN, Module, Unknown, UnreadableError, bindings


@dataclass(frozen=True)
class Keyword:
    """A keyword of a constructor. Each function returns `Parameter.empty` if there is none."""

    annotation: Callable[[], Any]
    default: Callable[[], Any]


@dataclass(frozen=True)
class Constructor:
    """The docstring and the `__init__` of a class; without `__init__` it passes all keywords on.

    Attributes:
        doc: The docstring.
        keywords: By name.
        passes_on: Whether it has `**options`, for the next class.
        sets: Keywords of the next class that it sets itself, beside `**options`.
    """

    doc: str
    keywords: Mapping[str, Keyword] = field(default_factory=dict)
    passes_on: bool = True
    sets: frozenset[str] = frozenset()


def read_constructors(target: str) -> list[Constructor]:
    """Return the constructors of a class and its bases, in Python's order of look-up.

    Nothing is imported. Classes of torch and of the standard library have no options and are left
    out.

    Args:
        target: `package.module:Class`.

    Raises:
        UnreadableError: If something cannot be read; the message names it.
    """
    module, _, name = target.partition(":")
    found = Module(module).find_class(name)
    order = _mirrored(*found, {}).__mro__ if found else (object,)
    return [vars(each)["constructor"] for each in order[:-1]]


def _mirrored(module: Module, node: ast.ClassDef, known: dict[ast.ClassDef, type]) -> type:
    """Return an empty class with the bases of one in a source, so that Python says their order."""
    if node not in known:
        plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
        named = [module.find_class(ast.unparse(base)) for base in plain]
        bases = tuple(_mirrored(*each, known) for each in named if each is not None)
        try:
            known[node] = type(node.name, bases, {"constructor": _read_constructor(module, node)})
        except TypeError as error:
            raise UnreadableError(f"{module.name}: {node.name}: {error}") from error
    return known[node]


def _read_constructor(module: Module, node: ast.ClassDef) -> Constructor:
    doc, names = ast.get_docstring(node) or "", bindings(node.body)
    if "__init__" not in names:
        return Constructor(doc)
    made = names["__init__"]
    if not isinstance(made, ast.FunctionDef) or made.decorator_list:
        raise UnreadableError(f"{module.name}: {node.name}.__init__ is no plain function")
    used = {each.id for each in ast.walk(made.args) if isinstance(each, ast.Name)}
    if used & names.keys():  # the class's own names come first
        raise UnreadableError(f"{module.name}: {node.name} uses names of its own in __init__")
    return Constructor(doc, _keywords(module, made.args), bool(made.args.kwarg), set_beside(made))


def _keywords(module: Module, arguments: ast.arguments) -> dict[str, Keyword]:
    plain = [*arguments.posonlyargs, *arguments.args]
    unset = [None] * (len(plain) - len(arguments.defaults))
    pairs = [*zip(plain, [*unset, *arguments.defaults], strict=True)][1:]  # not self
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {
        argument.arg: Keyword(
            partial(module.annotation, argument.annotation), partial(module.default, default)
        )
        for argument, default in pairs
        if argument not in arguments.posonlyargs
    }


def constructors_of(made: Any) -> list[Constructor]:
    """Do what `read_constructors` does, for an imported class; empty for anything else."""
    if not isinstance(made, type):
        return []
    mro = [each for each in made.__mro__ if each.__module__.partition(".")[0] not in FOREIGN]
    return [_constructor(each, vars(each).get("__init__")) for each in mro]


def _constructor(made: Any, function: Any) -> Constructor:
    doc = cleandoc(vars(made).get("__doc__") or "")
    if function is None:
        return Constructor(doc)
    parameters = [*signature(function).parameters.values()][1:]  # not self
    keywords = {
        each.name: Keyword(partial(_annotation, each, function), partial(getattr, each, "default"))
        for each in parameters
        if each.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    }
    passes_on = any(each.kind is Parameter.VAR_KEYWORD for each in parameters)
    return Constructor(doc, keywords, passes_on, _set_beside(function))


def _set_beside(function: Any) -> frozenset[str]:
    try:
        (node,) = ast.parse(dedent(getsource(function))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # no source, or not its own
        return frozenset()
    return set_beside(node) if isinstance(node, ast.FunctionDef) else frozenset()


def _annotation(parameter: Parameter, function: Any) -> Any:
    """Evaluate an annotation; if that fails, the type is not that of an option."""
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    try:
        return eval(parameter.annotation, function.__globals__)
    except Exception:  # names that are imported for type checkers alone
        return Unknown


def set_beside(function: ast.FunctionDef) -> frozenset[str]:
    """Return the keywords that a function sets when it passes `**options` on."""
    options = function.args.kwarg and function.args.kwarg.arg
    calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
    return frozenset(
        keyword.arg
        for call in calls
        if any(it.arg is None and ast.unparse(it.value) == options for it in call.keywords)
        for keyword in call.keywords
        if keyword.arg is not None
    )
