"""Read the values of names from source files, without importing modules or packages.

Anything but plain source is refused: a built extension, a star import, a name that is bound twice
or under a condition.
"""

import ast
import builtins
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec, resolve_name
from inspect import Parameter
from pathlib import Path
from typing import Any

FOREIGN = sys.stdlib_module_names | {"torch"}
"""Packages whose source is not read."""
_parse = lru_cache(maxsize=256)(ast.parse)

Imported = tuple[str, str]
"""A module and a name in it; without a name the module itself."""
Binding = ast.ClassDef | ast.FunctionDef | ast.expr | Imported | None
"""What a name is bound to; None if that is not plain."""


class UnreadableError(Exception):
    """A source file is missing or not plain enough."""


class _Anything(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class Unknown(metaclass=_Anything):
    """Stands for a class in an annotation, and for whatever torch has: a type of no option."""

    def __class_getitem__(cls, _parts: Any) -> Any:
        return cls


class Module(dict[str, Any]):
    """The values of a module's names, from its source, on first use."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, path = name, _locate(name)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        try:
            self._names = _names_in(path.read_text("utf-8"), package)
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableError(f"{path}: {error}") from error

    def __missing__(self, name: str) -> Any:
        module, found = self._look_up(name)
        if isinstance(found, ast.expr):
            return module.evaluate(found)
        if isinstance(found, ast.ClassDef):
            return Unknown
        if isinstance(found, tuple):
            return _import(*found)
        raise UnreadableError(f"{self.name} does not say plainly what {name!r} is")

    def _look_up(self, name: str) -> tuple["Module", Binding]:
        """Return a name's binding, and the module that makes it; foreign modules are not read."""
        if name not in self._names and hasattr(builtins, name) and "*" not in self._names:
            return self, ("builtins", name)
        if name not in self._names:
            raise UnreadableError(f"{self.name} does not say what {name!r} is")
        found = self._names[name]
        if not isinstance(found, tuple) or _is_foreign(found[0]):
            return self, found
        return Module(found[0])._look_up(found[1])

    def find_class(self, dotted: str) -> "tuple[Module, ast.ClassDef] | None":
        """Return the class behind `Base` or `module.Base`, and its module; None for a foreign one.

        Raises:
            UnreadableError: If it is not a plain class.
        """
        *path, name = dotted.split(".")
        place = self._names.get(path[0]) if path else None
        if isinstance(place, tuple):
            module = ".".join([*filter(None, place), *path[1:]])
            return None if _is_foreign(module) else Module(module).find_class(name)
        owner, found = self._look_up(dotted)
        if isinstance(found, ast.ClassDef) and not found.decorator_list:
            return owner, found
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


def _import(module: str, name: str) -> Any:
    """Return a name of a foreign module, or the module."""
    if module.partition(".")[0] == "torch":
        return Unknown
    found = import_module(module)
    return getattr(found, name) if name else found


def _is_foreign(module: str) -> bool:
    """Return whether the source of a module is not read."""
    return module.partition(".")[0] in FOREIGN or module == "bnnlab.markers"


@lru_cache(maxsize=256)
def _names_in(text: str, package: str) -> dict[str, Binding]:
    return bindings(_parse(text).body, package)


def bindings(body: list[ast.stmt], package: str = "") -> dict[str, Binding]:
    """Return what statements bind each name to; None for a name that several bind."""
    found: dict[str, Binding] = {}
    for name, binding in _bound(body, package):
        found[name] = None if name in found else binding
    return found


def _bound(body: list[ast.stmt], package: str) -> Iterator[tuple[str, Binding]]:
    for node in body:
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield from ((alias.asname or alias.name, (module, alias.name)) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:  # `import a.b` binds a
                top = alias.name.partition(".")[0]
                yield (alias.asname, (alias.name, "")) if alias.asname else (top, (top, ""))
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for each in (part for target in targets for part in ast.walk(target)):
                if isinstance(each, ast.Name):
                    yield each.id, node.value if each in targets else None
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _bound(node.body, package)
        else:
            yield from ((name, None) for name in _bound_within(node))


def _bound_within(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a condition, a loop or the like may bind."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
            yield each.id
        elif isinstance(each, ast.alias):
            yield each.asname or each.name.partition(".")[0]
        elif isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield each.name
