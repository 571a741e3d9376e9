"""Load plugins one by one, guarded, and resolve the names of their components."""

import contextlib
import importlib
import inspect
import io
import logging
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pluggy

from bnnlab.errors import StoppedError, UsageError, did_you_mean, explain
from bnnlab.guards import ambient
from bnnlab.registry import hookspecs
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.discovery import (
    Found,
    Plugin,
    Status,
    find_plugins,
    names_in,
    normalise,
)
from bnnlab.registry.index import Index, load_index
from bnnlab.registry.observing import Observers

log = logging.getLogger(__name__)


class PluginHost:
    """The plugins of this environment. Made by a command and passed on; never global.

    Args:
        disabled: Distributions (or entry-point names) that are not imported, beside those that
            registry.toml and BNNLAB_DISABLE name. If BNNLAB_ONLY names some, they alone are.

    Attributes:
        index: The curated registry.
        plugins: Every installed plugin, sorted by name, with what became of it.
    """

    def __init__(self, disabled: Iterable[str] = ()) -> None:
        self.index: Index = load_index()
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._disabled = {
            *map(normalise, disabled),
            *self.index.disabled,
            *names_in("BNNLAB_DISABLE"),
        }
        found, self._only = find_plugins(), names_in("BNNLAB_ONLY")
        for name in sorted(self._only - {name for each in found for name in each.names}):
            hint = did_you_mean(name, [each.distribution for each in found])
            if name in {entry.distribution for entry in self.index.plugins}:
                hint = f" To install it: pip install {name}"
            raise UsageError(
                f"plugin {name!r}, which BNNLAB_ONLY or --isolated names, is not installed.{hint}"
            )
        self.plugins: list[Plugin] = [self._load(each) for each in found]

    # -------------------------------------------------------------------- loading

    def _load(self, found: Found) -> Plugin:
        plugin = Plugin(found.distribution, found.version, found.name, Status.OK)
        if self._disabled & found.names:
            return replace(plugin, status=Status.DISABLED)
        if self._only and not self._only & found.names:
            error = "neither BNNLAB_ONLY nor --isolated names it"
            return replace(plugin, status=Status.DISABLED, error=error)
        if found.fault:
            return replace(plugin, status=Status.BROKEN, error=found.fault)
        started = time.perf_counter()
        try:
            components = self._import(found)
        except KeyboardInterrupt:
            log.warning("interrupted while %s was imported", found.distribution)
            raise
        except pluggy.PluginValidationError as error:  # says what is wrong in its later lines
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return replace(plugin, status=Status.BROKEN, error=text, exception=error)
        except BaseException as error:  # a plugin may raise anything, SystemExit included
            return replace(plugin, status=Status.BROKEN, error=explain(error), exception=error)
        return replace(
            plugin,
            components=components,
            package=found.entry_point.module.partition(".")[0],
            import_seconds=time.perf_counter() - started,
        )

    def _import(self, found: Found) -> tuple[Component, ...]:
        printed = io.StringIO()
        # Standard output belongs to the command: it may be a JSON document.
        name = f"{found.distribution}/{found.name}"
        with (
            contextlib.redirect_stdout(printed),
            warnings.catch_warnings(),
            ambient.kept(f"{name}, while it was imported,"),
        ):
            warnings.simplefilter("ignore")
            module = found.entry_point.load()
            if self._manager.is_registered(module):
                raise ValueError(f"is the same object as {self._manager.get_name(module)}")
            self._register(module, name)
            try:
                components = self._ask(module)
            except BaseException:
                self._manager.unregister(module)
                raise
        if printed.getvalue():
            log.debug("%s printed while loading: %s", name, printed.getvalue().strip())
        return components

    def _ask(self, module: Any) -> tuple[Component, ...]:
        if not self._manager.get_hookcallers(module):
            raise TypeError("implements no hook: decorate its functions with @bnnlab.hookimpl")
        answers: list[Component] = []
        for implementation in self._manager.hook.bnnlab_components.get_hookimpls():
            if implementation.plugin is module:
                answer = implementation.function()
                if isinstance(answer, str) or not isinstance(answer, Sequence):
                    raise TypeError(
                        f"bnnlab_components returned a {type(answer).__name__}, "
                        "expected a sequence of Component"
                    )
                for component in answer:
                    if not isinstance(component, Component):
                        raise TypeError(
                            "bnnlab_components returned a sequence with a "
                            f"{type(component).__name__}, expected Component"
                        )
                answers.extend(answer)
        names = [str(component) for component in answers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"offers {name} twice")
        return tuple(answers)

    # -------------------------------------------------------------------- resolving

    def components(self, kind: Kind | None = None) -> list[tuple[Plugin, Component]]:
        """Return every usable component (of a kind), sorted by name."""
        pairs = [
            (plugin, component)
            for plugin in self.plugins
            for component in plugin.components
            if kind is None or component.kind is kind
        ]
        return sorted(pairs, key=lambda pair: (pair[1].kind, pair[1].name, pair[0].distribution))

    def resolve(self, kind: Kind, name: str) -> tuple[Plugin, Component]:
        """Return the component called `name` or `distribution/name`, and its plugin.

        Raises:
            UsageError: If nothing installed offers the name, or two distributions do.
        """
        distribution, _, short = name.rpartition("/")
        matches = [
            (plugin, component)
            for plugin, component in self.components(kind)
            if component.name == short
            and (not distribution or plugin.distribution == normalise(distribution))
        ]
        if len(matches) == 1:
            return matches[0]
        if matches:
            ways = " or ".join(f"{plugin.distribution}/{short}" for plugin, _ in matches)
            raise UsageError(f"two plugins offer {kind} {short!r}. Say which: {ways}.")
        raise self._missing(kind, short, normalise(distribution))

    def _missing(self, kind: Kind, name: str, distribution: str) -> UsageError:
        offering = self.index.offering(f"{kind}:{name}")
        for plugin in self.plugins:
            wanted = distribution or (offering.distribution if offering else "")
            if plugin.distribution == wanted and plugin.status is not Status.OK:
                why = f": {plugin.error}" if plugin.error else ""
                error = UsageError(
                    f"{kind} {name!r} comes with {wanted}, which is {plugin.status}{why}."
                )
                error.__cause__ = plugin.exception
                return error
        installed = {plugin.distribution for plugin in self.plugins}
        if offering and offering.distribution not in installed:
            return UsageError(
                f"{kind} {name!r} is not installed. "
                f"To install it: pip install {offering.distribution}"
            )
        if distribution and distribution not in installed:
            return UsageError(
                f"{kind} {distribution}/{name}: no plugin of the distribution {distribution!r} "
                "is installed; `bnn list-plugins` shows what is."
            )
        others = [p.distribution for p, c in self.components(kind) if c.name == name]
        if others:  # only the distribution was wrong
            return UsageError(f"{distribution} offers no {kind} {name!r}; {others[0]} does.")
        known = sorted({component.name for _, component in self.components(kind)})
        hint = did_you_mean(name, [*known, *self.index.names(kind)])
        if not hint:
            hint = f" Known: {', '.join(known)}." if known else " No plugin with one is installed."
        out = [f"{p.distribution} ({p.status})" for p in self.plugins if p.status is not Status.OK]
        if out:
            hint += f" Not looked into: {', '.join(out)}."
        return UsageError(f"unknown {kind} {name!r}.{hint}")

    def load(self, plugin: Plugin, component: Component) -> Any:
        """Import the class behind a component.

        Raises:
            UsageError: If the import fails or the class is missing; the plugin is named.
        """
        module, _, attribute = component.target.partition(":")
        try:
            with ambient.kept(f"{plugin.distribution}, while {component.target} was imported,"):
                return getattr(importlib.import_module(module), attribute)
        except (KeyboardInterrupt, StoppedError):
            raise
        except BaseException as error:
            raise UsageError(
                f"{component.kind} {component.name!r} of {plugin.distribution} "
                f"{plugin.version} does not load: {explain(error)}"
            ) from error

    def unavailable(self) -> list[Plugin]:
        """Return what registry.toml knows and is not installed."""
        installed = {plugin.distribution for plugin in self.plugins}
        return [
            Plugin(entry.distribution, "", entry.name, Status.AVAILABLE)
            for entry in self.index.plugins
            if entry.distribution not in installed
        ]

    # -------------------------------------------------------------------- observing

    def observe(self, observer: object) -> None:
        """Let an object with hook implementations watch the runs of this host."""
        self._register(observer)

    def observers(self) -> Observers:
        """Return who watches the next run."""
        return Observers(self._manager)

    def _register(self, plugin: object, name: str | None = None) -> None:
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
            for caller in self._manager.get_hookcallers(plugin) or []:
                for implementation in caller.get_hookimpls():
                    function = implementation.function
                    if implementation.plugin is plugin and not _runs(function):
                        raise TypeError(
                            f"{caller.name} is a wrapper, generator or coroutine, whose body would "
                            "not run: make it a plain function"
                        )
        except BaseException:
            if self._manager.is_registered(plugin):  # pluggy keeps what it refuses halfway
                self._manager.unregister(plugin)
            raise


def _runs(function: Any) -> bool:
    """Return whether calling a function runs its body."""
    return not (inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function))
