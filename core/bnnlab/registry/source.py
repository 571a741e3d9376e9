"""Read a class from its source file, without importing its module or package.

The answer is a *stub*: an empty class with the docstring and the bases of the real one, whose
constructor has the real signature. What is not plain is refused, and the class is imported
instead: a built extension, a decorated class, a star import, a name that is bound twice or under a
condition.
"""

import ast
import builtins
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

FOREIGN = sys.stdlib_module_names | {"torch"}
"""Packages whose classes have no options. Their source is not read."""


class UnreadableError(Exception):
    """A source file is missing or not plain enough."""


class _Anything(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub


class Stub(metaclass=_Anything):
    """Base of all stubs. It also stands for whatever torch has."""

    def __class_getitem__(cls, _parts: Any) -> Any:
        return cls


def read_class(target: str) -> type:
    """Return the stub of a class. Annotations in its constructor are text.

    Args:
        target: `package.module:Class`.

    Raises:
        UnreadableError: If something is missing or not plain. Also when an annotation is evaluated.
    """
    module, _, name = target.partition(":")
    try:
        found = _Modules()[module][name]
    except UnreadableError:
        raise
    except Exception as error:  # whatever the evaluation of foreign expressions raises
        raise UnreadableError(f"{target}: {error}") from error
    if not isinstance(found, _Anything):
        raise UnreadableError(f"{target} is no class")
    return found


class _Modules(dict[str, "_Module"]):
    """Modules by name, each read when it is first asked for."""

    def __missing__(self, name: str) -> "_Module":
        self[name] = _Module(name, self)
        return self[name]


class _Module(dict[str, Any]):
    """The values of a module's names, each evaluated when it is first asked for."""

    def __init__(self, name: str, modules: _Modules) -> None:
        super().__init__()
        self._name, self._modules, path = name, modules, _locate(name)
        self._is_package = path.name == "__init__.py"
        self._bindings = _parse(path.read_text("utf-8"))

    def __missing__(self, name: str) -> Any:
        if name in self._bindings:
            self[name] = self._value(name, self._bindings[name])
            return self[name]
        if hasattr(builtins, name) and "*" not in self._bindings:
            return getattr(builtins, name)
        if self._is_package:
            return self._modules[f"{self._name}.{name}"]
        raise UnreadableError(f"{self._name} does not say what {name!r} is")

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def _value(self, name: str, statement: ast.stmt | None) -> Any:
        """Return what a statement binds a name to."""
        match statement:
            case ast.ClassDef():
                return self._stub(statement)
            case ast.Assign(targets=[ast.Name()], value=ast.expr() as value):
                return self._evaluate(value)
            case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value):
                return self._evaluate(value)
            case ast.Import(names=aliases):
                return self._import({each.asname: each.name for each in aliases}.get(name, name))
            case ast.ImportFrom(names=aliases):
                package = self._name if self._is_package else self._name.rpartition(".")[0]
                module = resolve_name("." * statement.level + (statement.module or ""), package)
                original = {each.asname: each.name for each in aliases}.get(name, name)
                return getattr(self._import(module), original)
        raise UnreadableError(f"{self._name} does not say plainly what {name!r} is")

    def _import(self, name: str) -> Any:
        """Return a module as its source says; a foreign one imported; `Stub` for torch."""
        top = name.partition(".")[0]
        if top == "torch":
            return Stub
        is_foreign = top in FOREIGN or name == "bnnlab.markers"
        return import_module(name) if is_foreign else self._modules[name]

    def _evaluate(self, node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), self._name, "eval"), self)

    def _stub(self, node: ast.ClassDef) -> type:
        bases = [self._evaluate(base) for base in node.bases]
        stubs = [base for base in bases if isinstance(base, _Anything) and base is not Stub]
        names: dict[str, Any] = {"__module__": self._name, "__doc__": ast.get_docstring(node)}
        own = _bindings(node.body)
        made_by_calls = any(isinstance(base, ast.Call) for base in node.bases)
        if (
            node.decorator_list or made_by_calls
        ):  # who reads its constructor is told; it may be an annotation
            names["__init__"] = UnreadableError(f"{self._name}: {node.name} is no plain class")
        elif "__init__" in own:
            names["__init__"] = self._constructor(own, node.name)
        return _Anything(node.name, (*stubs, Stub), names)

    def _constructor(self, own: dict[str, ast.stmt | None], name: str) -> Any:
        """Return a function with the signature of `__init__`; its `node` is the definition."""
        node = own["__init__"]
        if not isinstance(node, ast.FunctionDef) or node.decorator_list:
            raise UnreadableError(f"{self._name}: {name}.__init__ is no plain function")
        if own.keys() & {each.id for each in ast.walk(node.args) if isinstance(each, ast.Name)}:
            raise UnreadableError(f"{self._name}: {name} uses names of its own in __init__")
        signature = ast.Lambda(node.args, ast.Constant(None))
        function = self._evaluate(ast.fix_missing_locations(signature))
        annotated = (each for each in ast.walk(node.args) if isinstance(each, ast.arg))
        function.__annotations__ = {
            each.arg: ast.unparse(each.annotation) for each in annotated if each.annotation
        }
        function.node = node
        return function


def _locate(name: str) -> Path:
    """Find the file of a module without importing its package."""
    top, *inner = name.split(".")
    spec = find_spec(top)
    places = [Path(spec.origin)] if spec and spec.origin and not inner else []
    for folder in (spec.submodule_search_locations or ()) if spec and inner else ():
        place = Path(folder, *inner)
        places += [place / "__init__.py", place.with_name(f"{place.name}.py")]
    for place in places:
        if place.suffix == ".py" and place.is_file():
            return place
    raise UnreadableError(f"{name} has no source file")


@lru_cache(maxsize=256)
def _parse(text: str) -> dict[str, ast.stmt | None]:
    return _bindings(ast.parse(text).body)


def _bindings(body: list[ast.stmt]) -> dict[str, ast.stmt | None]:
    """Return the statement that binds each name; None for a name that several bind."""
    found: dict[str, ast.stmt | None] = {}
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            inner = _bindings(statement.body)
        else:
            inner = dict.fromkeys(_names(statement), statement)
        found |= {name: None if name in found else node for name, node in inner.items()}
    return found


def _names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement binds, also under a condition or in a loop."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
            return
        case ast.alias(name=name, asname=other):
            yield other or name.partition(".")[0]
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
    for inner in ast.iter_child_nodes(node):
        yield from _names(inner)
