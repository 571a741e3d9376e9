"""Plugins that are one file: the hooks and their classes, without a distribution."""

import hashlib
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from bnnlab.errors import UsageError
from bnnlab.registry.discovery import Plugin, in_environment
from bnnlab.registry.hookspecs import ENTRY_POINT_GROUP

FILES = "BNNLAB_FILES"
"""The environment variable with the files that all hosts load, separated as in PATH."""
_MARK = "__bnnlab_file__"
"""Attribute of the module of such a file: the digest of what was executed."""


def given(files: Iterable[str | Path]) -> AbstractContextManager[None]:
    """Let hosts that are made in this block, or in its child processes, load these files, too.

    Raises:
        UsageError: If a path holds the character that separates them.
    """
    every = [str(file) for file in _with_others(files)]
    for file in every:
        if os.pathsep in file:
            raise UsageError(
                f"the plugin {file}: {os.pathsep!r} separates the files of {FILES}, and cannot be "
                "in a path. Rename the folder or the file."
            )
    return in_environment(FILES, os.pathsep.join(every))


def _with_others(files: Iterable[str | Path]) -> list[Path]:
    """Return the files of `BNNLAB_FILES` and these, each once."""
    others = filter(None, os.environ.get(FILES, "").split(os.pathsep))
    return [*dict.fromkeys(Path(file).absolute() for file in (*others, *files))]


def find_files(files: Iterable[str | Path]) -> list[Plugin]:
    """Return the plugins in these files and in those of `BNNLAB_FILES`.

    A file that cannot be a module is a broken plugin.

    Raises:
        UsageError: If one is no Python file that can be read.
    """
    found = dict[str, Plugin]()
    for path in _with_others(files):
        plugin = _plugin(path)
        if path.name in found:
            raise UsageError(f"two files of plugins are called {path.name}. Rename one of them.")
        found[path.name] = plugin
    return [*found.values()]


def _plugin(path: Path) -> Plugin:
    if path.suffix != ".py":
        raise UsageError(f"{path} is no plugin: a plugin in one file is a Python file, NAME.py.")
    try:
        version = _digest(path.read_bytes())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the plugin {path}: {why}.") from error
    point = EntryPoint(path.stem, path.stem, ENTRY_POINT_GROUP)
    plugin = Plugin(path.name, version, path.stem, entry_point=point, file=path)
    if not path.stem.isidentifier():
        return plugin.broken("a module's name has letters, digits and '_': rename the file")
    if _is_taken(path):
        return plugin.broken(f"there is another module {path.stem!r}: rename the file")
    return plugin


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _is_taken(path: Path) -> bool:
    """Return whether a file's name is that of a module that is no such plugin."""
    if module := sys.modules.get(path.stem):
        return not hasattr(module, _MARK) and getattr(module, "__file__", None) != str(path)
    spec = find_spec(path.stem)
    return spec is not None and spec.origin != str(path)


def import_file(path: Path) -> None:
    """Execute a file as the module of its name, if it was not, or has changed."""
    content = path.read_bytes()
    mark = str(path), _digest(content)
    before = sys.modules.get(path.stem)
    if getattr(before, _MARK, None) == mark:
        return
    spec: ModuleSpec = spec_from_file_location(path.stem, path)  # type: ignore[assignment]
    module = module_from_spec(spec)
    setattr(module, _MARK, mark)
    sys.modules[path.stem] = module
    try:
        exec(compile(content, path, "exec"), vars(module))
    except BaseException:
        del sys.modules[path.stem]
        raise
