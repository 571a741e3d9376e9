"""Which names a new plugin may have."""

import ast
import keyword
import re
import sys
import unicodedata
from collections.abc import Iterator
from importlib.metadata import distributions
from importlib.util import find_spec
from itertools import count
from pkgutil import iter_modules

import typer

from bnnlab.cli import app
from bnnlab.errors import UsageError
from bnnlab.registry import components
from bnnlab.registry.host import PluginHost
from bnnlab_scaffold.package import PREFIX, Kind, Package
from bnnlab_scaffold.writing import files

LONGEST = 25
"""Characters of a name: lines of the generated code stay shorter than 100."""
_FORM = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def checked(said: str, kind: Kind, host: PluginHost) -> str:
    """Return the name of a new plugin without the prefix of distributions.

    Args:
        said: The name; it may have the prefix already.
        kind: What the plugin will offer.
        host: The plugins that are known and installed.

    Raises:
        UsageError: If there can be no such plugin: why, and the nearest name that can be.
    """
    name = re.sub(f"^({PREFIX})+", "", said)
    if fault := _fault(name, kind, host):
        near = next(each for each in _near(name, kind) if not _fault(each, kind, host))
        raise UsageError(
            f"no new plugin can be called {said!r}: {fault}. Choose another name, such as {near!r}."
        )
    return name


def _fault(name: str, kind: Kind, host: PluginHost) -> str:
    """Return why there can be no plugin of this name; empty if there can."""
    package = Package(name, kind)
    if not _FORM.fullmatch(name):
        return "use a-z, 0-9 and single hyphens, and begin with a letter"
    if len(name) > LONGEST:
        return f"it has more than {LONGEST} characters"
    word = package.word
    if keyword.iskeyword(word) or keyword.issoftkeyword(word):
        return "it is a word of Python"
    if word in sys.stdlib_module_names or word in _modules():
        return f"Python, torch or bnnlab has a module {word!r}"
    if package.distribution in {entry.distribution for entry in host.index.plugins}:
        return f"{package.distribution} is a known plugin"
    if _is_installed(package, host):
        return "a plugin or package of this name is installed"
    if name in _offered(kind, host):
        return f"another {kind} has this name"
    if kind is not Kind.COMMAND and package.class_name in _used(kind):
        return f"the new code uses the name {package.class_name!r} for something else"
    return ""


def _modules() -> set[str]:
    """Return names of modules that readers would take for others; torch is not imported."""
    torch = find_spec("torch")
    folders = torch.submodule_search_locations if torch else None
    return {"bnnlab", "torch", *(module.name for module in iter_modules(folders or []))}


def _is_installed(package: Package, host: PluginHost) -> bool:
    names = {name for plugin in host.plugins for name in plugin.names}
    return bool(
        names & {package.name, package.distribution}
        or any(distributions(name=package.distribution))
        or find_spec(package.module)
    )


def _offered(kind: Kind, host: PluginHost) -> set[str]:
    """Return the names of all components of a kind, or of all commands, known and installed."""
    known = set(host.index.names(kind))
    if kind is not Kind.COMMAND:
        return known | {it.name for _, it in host.components(components.Kind(kind))}
    cores = getattr(typer.main.get_command(app), "commands", {})
    return known | {*cores, *(it.name for _, it in host.commands())}


def _used(kind: Kind) -> set[str]:
    """Return the names in the code of a new plugin, but for that of its own class."""
    package = Package("zz", kind)
    texts = [text for place, text in files(package).items() if place.endswith(".py")]
    nodes = (node for text in texts for node in ast.walk(ast.parse(text)))
    return {node.id for node in nodes if isinstance(node, ast.Name)} - {package.class_name}


def _near(said: str, kind: Kind) -> Iterator[str]:
    """Yield names that may be meant, the nearest first, without end."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", said)  # MyRule is my-rule
    plain = unicodedata.normalize("NFKD", apart).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).lstrip("-0123456789")
    near = re.sub(f"^({PREFIX})+", "", words)[:18].strip("-") or f"my-{kind}"
    yield near
    yield f"my-{near}"
    for number in count(2):
        yield f"my-{near}-{number}"
