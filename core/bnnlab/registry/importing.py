"""Import one plugin, guarded against its errors, and list its components and commands."""

import contextlib
import inspect
import io
import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping, MutableMapping, Sequence, Set
from dataclasses import replace
from threading import RLock, get_ident
from types import ModuleType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import pluggy

from bnnlab.deprecation import Deprecated
from bnnlab.errors import explain
from bnnlab.guards import ambient
from bnnlab.registry import hookspecs
from bnnlab.registry.components import Command, Component
from bnnlab.registry.discovery import Plugin, PluginStatus
from bnnlab.registry.one_file import import_file
from bnnlab.registry.options import shown

log = logging.getLogger(__name__)

T = TypeVar("T")

_IMPORTING = RLock()
"""Held while standard output and the filters of warnings, which a process has one of, are others.
"""


class _Printed(io.StringIO):
    """What this thread prints; what other threads print goes where it went before."""

    def __init__(self) -> None:
        super().__init__()
        self._thread, self._before = get_ident(), sys.stdout

    def write(self, text: str) -> int:
        return super().write(text) if get_ident() == self._thread else self._before.write(text)


class Manager(pluggy.PluginManager):
    """Does not ask pluggy, which is slow, whether a module's classes and values are hooks."""

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self.add_hookspecs(hookspecs)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return what a hook's decorator says; None for what is no hook."""
        if isinstance(plugin, ModuleType):
            found = vars(plugin).get(name)
            if isinstance(found, type) or not callable(found):
                return None
        return super().parse_hookimpl_opts(plugin, name)


Hooks = Mapping[str, Sequence[Callable[..., Any]]]
"""The functions that implement a plugin's hooks, by the names of the hooks."""
_Offers = tuple[tuple[Component, ...], tuple[Command, ...]]
_ANSWERS: MutableMapping[ModuleType, _Offers] = WeakKeyDictionary()
"""What modules offer. Each is asked once: hosts of a process share what is read of components."""


def load(manager: pluggy.PluginManager, plugin: Plugin, keeper: ambient.Keeper) -> Plugin:
    """Import and register a plugin. An error becomes part of the returned one.

    Args:
        manager: Where it is registered.
        plugin: As it was found.
        keeper: Of the state that all plugins share; one for all that are loaded now.
    """
    if plugin.status is PluginStatus.BROKEN:
        return plugin
    started = time.perf_counter()
    try:
        components, commands = _import(manager, plugin, keeper)
    except KeyboardInterrupt:
        log.warning("interrupted during the import of %s", plugin.distribution)
        raise
    except pluggy.PluginValidationError as error:  # says what is wrong in its later lines
        return plugin.broken(f"{type(error).__name__}: {' '.join(str(error).split())}", error)
    except BaseException as error:  # a plugin may raise anything, SystemExit included
        return plugin.broken(explain(error), error)
    return replace(
        plugin,
        status=PluginStatus.OK,
        components=components,
        commands=commands,
        import_seconds=time.perf_counter() - started,
    )


def _import(manager: pluggy.PluginManager, plugin: Plugin, keeper: ambient.Keeper) -> _Offers:
    name = f"{plugin.distribution}/{plugin.name}"
    module: Any = sys.modules.get(plugin.entry_point.value)
    if module in _ANSWERS and not plugin.file:  # nothing of it is executed
        _register_new(manager, module, name)
        return _ANSWERS[module]
    with (
        _IMPORTING,
        # Standard output belongs to the command: it may be a JSON document.
        contextlib.redirect_stdout(_Printed()) as printed,
        warnings.catch_warnings(record=True) as warned,
        ambient.kept(f"{name}, while it was imported,", None, keeper),
    ):
        warnings.simplefilter("always")
        if plugin.file:
            import_file(plugin.file)
        module = plugin.entry_point.load()
        hooks = _register_new(manager, module, name)
        try:
            if not hooks:
                raise TypeError(
                    "implements no hook: the entry point must name a module, and its hooks be "
                    "decorated with @bnnlab.hookimpl"
                )
            components = _ask(hooks, "bnnlab_components", Component)
            commands = _ask(hooks, "bnnlab_commands", Command)
        except BaseException:
            manager.unregister(module)
            raise
    if printed.getvalue():
        log.debug("%s printed while loading: %s", name, printed.getvalue().strip())
    for each in warned:
        level = logging.WARNING if issubclass(each.category, Deprecated) else logging.DEBUG
        log.log(level, "%s warned while loading: %s", name, each.message)
    if isinstance(module, ModuleType):
        _ANSWERS[module] = components, commands
    return components, commands


def _register_new(manager: pluggy.PluginManager, module: Any, name: str) -> Hooks:
    if manager.is_registered(module):
        raise ValueError(f"is the same module as {manager.get_name(module)}")
    return register(manager, module, name)


def _ask(hooks: Hooks, hook: str, expected: type[T]) -> tuple[T, ...]:
    """Call a hook of a module, and check that its answers have the expected type."""
    answers: list[T] = []
    for function in hooks.get(hook, ()):
        answer = function()
        is_sequence = isinstance(answer, Sequence) and not isinstance(answer, str)
        if not is_sequence or not all(isinstance(each, expected) for each in answer):
            raise TypeError(
                f"{hook} must return a sequence of {expected.__name__}; it returned {shown(answer)}"
            )
        answers.extend(answer)
    names = [str(each) for each in answers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"offers {name} twice")
    return tuple(answers)


def register(manager: pluggy.PluginManager, plugin: object, name: str | None = None) -> Hooks:
    """Register an object, so that its hooks are called; return their functions.

    Raises:
        pluggy.PluginValidationError: If a hook or one of its arguments is unknown.
        TypeError: If a hook would not be called, its body would not run, or it asks for `**rest`.
    """
    try:
        manager.register(plugin, name)
        manager.check_pending()
        hooks = _hooks(manager, plugin)
        _refuse_undecorated(manager, plugin, hooks.keys())
        for hook, functions in hooks.items():
            for function in functions:
                _check(hook, function)
    except BaseException:
        if manager.is_registered(plugin):  # pluggy keeps what it refuses halfway
            manager.unregister(plugin)
        raise
    return hooks


def _hooks(manager: pluggy.PluginManager, plugin: object) -> Hooks:
    """Return the functions of a plugin's hooks; pluggy compares its names with those of all."""
    found: dict[str, list[Callable[..., Any]]] = {}
    for hook, caller in vars(manager.hook).items():
        for each in caller.get_hookimpls():
            if each.plugin is plugin:
                found.setdefault(hook, []).append(each.function)
    return found


def _refuse_undecorated(manager: pluggy.PluginManager, plugin: object, decorated: Set[str]) -> None:
    for hook in vars(manager.hook).keys() - decorated:
        if callable(getattr(plugin, hook, None)):
            raise TypeError(
                f"{hook} would never be called: decorate it with @bnnlab.hookimpl, or rename it"
            )


def _check(hook: str, function: Any) -> None:
    """Raise TypeError if a hook's function cannot do what it says."""
    if not runs(function):
        raise TypeError(
            f"{hook} is a wrapper, generator or coroutine. Its body would not run: make it a "
            "plain function"
        )
    kinds = {each.kind for each in inspect.signature(function).parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        raise TypeError(f"{hook} would get nothing by * or **: name the arguments that it needs")


def runs(function: Any) -> bool:
    """Return whether calling a function runs its body."""
    return not (inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function))
