"""Read constructors from source files, without importing their modules or packages.

Anything but plain source is refused: a built extension, a decorated class, a star import.
"""

import ast
import builtins
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec, resolve_name
from inspect import Parameter
from pathlib import Path
from typing import Any

FOREIGN = sys.stdlib_module_names | {"torch"}
"""Packages whose source is not read: their classes have no options."""
_parse = lru_cache(maxsize=256)(ast.parse)

Binding = ast.ClassDef | ast.expr | tuple[str, str]
"""What a name is bound to: a class, a value, or (module, name there) that was imported."""


class UnreadableError(Exception):
    """A source file is missing or not plain enough."""


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


def constructors(target: str) -> list[Constructor]:
    """Return the constructors of a class and its bases, in Python's order of look-up.

    Args:
        target: `package.module:Class`.

    Raises:
        UnreadableError: If something cannot be read; the message names it.
    """
    module, _, name = target.partition(":")
    found = _Module(module).find_class(name)
    return [] if found is None else [each.constructor() for each in found.lookup_order()]


class _Anything(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class Unknown(metaclass=_Anything):
    """Stands for a class in an annotation, and for whatever torch has: a type of no option."""

    def __class_getitem__(cls, _parts: Any) -> Any:
        return cls


class _Module(dict[str, Any]):
    """The values of a module's names, from its source, on first use."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, path = name, _locate(name)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        try:
            self._names = _bindings(path.read_text("utf-8"), package)
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableError(f"{path}: {error}") from error

    def __missing__(self, name: str) -> Any:
        module, found = self._look_up(name)
        if isinstance(found, ast.expr):
            return module.evaluate(found)
        if isinstance(found, ast.ClassDef) or found[0].partition(".")[0] == "torch":
            return Unknown
        value = import_module(found[0])
        return getattr(value, found[1]) if found[1] else value

    def _look_up(self, name: str) -> tuple["_Module", Binding]:
        """Return a name's binding, in the module that makes it; foreign ones are not read."""
        if name not in self._names and hasattr(builtins, name) and "*" not in self._names:
            return self, ("builtins", name)
        if name not in self._names:
            raise UnreadableError(f"{self.name} does not say what {name!r} is")
        found = self._names[name]
        if not isinstance(found, tuple) or _is_foreign(found[0]):
            return self, found
        return _Module(found[0])._look_up(found[1])

    def find_class(self, dotted: str) -> "_Class | None":
        """Return the class behind `Base` or `module.Base`; None for a foreign one.

        Raises:
            UnreadableError: If it is not a plain class.
        """
        *path, name = dotted.split(".")
        place = self._names.get(path[0]) if path else None
        if isinstance(place, tuple):
            module = ".".join([*filter(None, place), *path[1:]])
            return None if _is_foreign(module) else _Module(module).find_class(name)
        owner, found = self._look_up(dotted)
        if isinstance(found, ast.ClassDef) and not found.decorator_list:
            return _Class(owner.name, found.name, owner, found)
        if isinstance(found, tuple):
            return None
        raise UnreadableError(f"{self.name}: {dotted} is no plain class")

    def evaluate(self, node: ast.expr) -> Any:
        """Return the value of an expression."""
        try:
            return eval(compile(ast.Expression(node), self.name, "eval"), {}, self)
        except UnreadableError:
            raise
        except Exception as error:
            raise UnreadableError(f"{self.name}: {ast.unparse(node)}: {error}") from error

    def annotation(self, node: ast.expr | None) -> Any:
        """Evaluate an annotation, also one in quotation marks."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = _parse(node.value, mode="eval").body
        return Parameter.empty if node is None else self.evaluate(node)

    def default(self, node: ast.expr | None) -> Any:
        """Return a default: a number, text, None, or a list of them."""
        value = Parameter.empty if node is None else self.evaluate(node)
        for each in value if isinstance(value, list | tuple) else [value]:
            if each is not Parameter.empty and not isinstance(each, int | float | str | None):
                raise UnreadableError(f"{self.name}: {value!r} is no plain value")
        return value


@dataclass(frozen=True)
class _Class:
    module_name: str
    name: str
    module: _Module = field(compare=False)
    node: ast.ClassDef = field(compare=False)

    def lookup_order(self) -> list["_Class"]:
        """Return the class and its bases in Python's order (C3), without foreign ones."""
        plain = [it.value if isinstance(it, ast.Subscript) else it for it in self.node.bases]
        named = [self.module.find_class(ast.unparse(it)) for it in plain]
        bases = [base for base in named if base is not None]
        waiting, order = [*(base.lookup_order() for base in bases), bases], [self]
        while waiting := [each for each in waiting if each]:
            first = [each[0] for each in waiting]
            free = [it for it in first if not any(it in each[1:] for each in waiting)]
            if not free:
                raise UnreadableError(f"{self.module_name}: the bases of {self.name} have no order")
            order.append(free[0])
            waiting = [[it for it in each if it != free[0]] for each in waiting]
        return order

    def constructor(self) -> Constructor:
        """Return its docstring and its own `__init__`."""
        doc = ast.get_docstring(self.node) or ""
        for node in self.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                keywords, passes_on = self._keywords(node.args), node.args.kwarg is not None
                return Constructor(doc, keywords, passes_on, set_beside(node))
        return Constructor(doc)

    def _keywords(self, arguments: ast.arguments) -> dict[str, Keyword]:
        plain = [*arguments.posonlyargs, *arguments.args]
        unset = [None] * (len(plain) - len(arguments.defaults))
        pairs = [*zip(plain, [*unset, *arguments.defaults], strict=True)][1:]  # not self
        pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        return {
            argument.arg: Keyword(
                partial(self.module.annotation, argument.annotation),
                partial(self.module.default, default),
            )
            for argument, default in pairs
            if argument not in arguments.posonlyargs
        }


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


def _locate(name: str) -> Path:
    """Find the file of a module without importing its package."""
    top, *inner = name.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError) as error:
        raise UnreadableError(f"{top}: {error}") from error
    places = [Path(spec.origin)] if spec and spec.origin and not inner else []
    for folder in (spec.submodule_search_locations or ()) if spec and inner else ():
        place = Path(folder, *inner)
        places += [place / "__init__.py", place.parent / f"{place.name}.py"]
    for place in places:
        if place.suffix == ".py" and place.is_file():
            return place
    raise UnreadableError(f"{name} has no source file")


def _is_foreign(module: str) -> bool:
    """Return whether a module is not read but imported, or unknown."""
    return module.partition(".")[0] in FOREIGN or module == "bnnlab.markers"


@lru_cache(maxsize=256)
def _bindings(text: str, package: str) -> dict[str, Binding]:
    """Return the bindings of all names at the top level of a source text."""
    return dict(_bound(_parse(text).body, package))


def _bound(body: list[ast.stmt], package: str) -> Iterator[tuple[str, Binding]]:
    for node in body:
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield from ((alias.asname or alias.name, (module, alias.name)) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:  # `import a.b` binds a
                top = alias.name.partition(".")[0]
                yield (alias.asname, (alias.name, "")) if alias.asname else (top, (top, ""))
        elif isinstance(node, ast.If | ast.Try):
            yield from _bound([*node.body, *node.orelse], package)
        elif isinstance(node, ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((each.id, node.value) for each in targets if isinstance(each, ast.Name))
