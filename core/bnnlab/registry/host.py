"""All plugins of an environment; find components and commands by their names."""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from bnnlab.errors import (
    NotInstalledError,
    UsageError,
    did_you_mean,
    explain,
    install_command,
)
from bnnlab.guards import ambient, collection
from bnnlab.registry import importing
from bnnlab.registry.components import Command, Component, Kind, Section, noun
from bnnlab.registry.declaration import Option
from bnnlab.registry.discovery import Plugin, PluginStatus, find_plugins, names_in, normalise
from bnnlab.registry.given import OBJECT, Given
from bnnlab.registry.index import Index, load_index
from bnnlab.registry.observing import Observers, sections
from bnnlab.registry.one_file import find_files
from bnnlab.registry.signatures import imported

Offer = TypeVar("Offer", Component, Command)


class PluginHost:
    """The plugins of this environment. Made by a command and passed on; never global.

    Args:
        disabled: Distributions (or entry-point names) that are not imported, beside those that
            registry.toml and BNNLAB_DISABLE name. If BNNLAB_ONLY names some, they alone are.
        files: Plugins that are one file each, beside those of BNNLAB_FILES. These are always
            imported, unless they are disabled.
        with_broken: Whether a file that cannot be loaded is kept as broken; else it is refused.

    Attributes:
        index: The curated registry.
        plugins: Every installed plugin with its status, sorted by name; then those of files.

    Raises:
        UsageError: If BNNLAB_ONLY names what is not installed, or one of `files` cannot be loaded.
    """

    def __init__(
        self,
        disabled: Iterable[str] = (),
        files: Iterable[str | Path] = (),
        *,
        with_broken: bool = False,
    ) -> None:
        self.index: Index = load_index()
        self._manager, keeper = importing.Manager(), ambient.Keeper()
        said = [*map(normalise, disabled), *names_in("BNNLAB_DISABLE")]
        self._disabled = self.index.disabled.union(said)
        found, self._only = [*find_plugins(), *find_files(files)], names_in("BNNLAB_ONLY")
        _expect_found(self.index, found, self._only)
        with collection.put_off():
            self.plugins: list[Plugin] = [self._load(each, keeper) for each in found]
        self._objects: list[Plugin] = []
        _expect_loaded(() if with_broken else self.plugins)

    def _load(self, plugin: Plugin, keeper: ambient.Keeper) -> Plugin:
        disabled = replace(plugin, status=PluginStatus.DISABLED, error=None)
        if self._disabled & plugin.names:
            return disabled
        if self._only and not plugin.file and not self._only & plugin.names:
            return replace(disabled, error="not named by BNNLAB_ONLY or --isolated")
        return importing.load(self._manager, plugin, keeper)

    def offering(self, objects: Iterable[Plugin]) -> "PluginHost":
        """Return a host that offers objects of the caller, too, see `bnnlab.registry.given`."""
        host = copy(self)
        host._objects = [*self._objects, *objects]
        return host

    # -------------------------------------------------------------------- resolving

    def components(self, kind: Kind | None = None) -> list[tuple[Plugin, Component]]:
        """Return every usable component (of a kind), sorted by name."""
        return _sorted(_offered((*self.plugins, *self._objects), kind))

    def commands(self) -> list[tuple[Plugin, Command]]:
        """Return every command that a plugin adds, sorted by name."""
        return _sorted((plugin, it) for plugin in self.plugins for it in plugin.commands)

    def resolve(self, kind: Kind, name: str) -> tuple[Plugin, Component]:
        """Return the component called `name` or `distribution/name`, and its plugin.

        Raises:
            UsageError: If nothing installed offers the name, or two distributions do.
        """
        return self._find(kind, name, [*_offered((*self.plugins, *self._objects), kind)])

    def resolve_command(self, name: str, own: Iterable[str] = ()) -> tuple[Plugin, Command]:
        """Do `resolve` for a command; "Did you mean" also knows `own`, the commands of the core."""
        return self._find(Command.kind, name, self.commands(), own)

    def _find(
        self, kind: str, name: str, offers: list[tuple[Plugin, Offer]], own: Iterable[str] = ()
    ) -> tuple[Plugin, Offer]:
        said, _, short = name.rpartition("/")
        distribution = normalise(said)
        matches = _sorted(
            (plugin, offer)
            for plugin, offer in offers
            if offer.name == short and (not said or normalise(plugin.distribution) == distribution)
        )
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise _ambiguous(kind, short, [plugin for plugin, _ in matches])
        raise _missing(self, kind, short, said, _sorted(offers), own)

    def load(self, plugin: Plugin, offer: Component | Command) -> Any:
        """Import the target of a component or command; of an object, return what makes it.

        Raises:
            UsageError: If the import fails or the target is missing; the plugin is named.
        """
        if isinstance(offer, Given):
            return offer.make
        try:
            return imported(offer.target, plugin.distribution)
        except UsageError as error:
            raise does_not_load(plugin, offer, error) from error.__cause__

    def options(self, plugin: Plugin, component: Component) -> Sequence[Option]:
        """Return a component's options, read from its source or its class.

        Raises:
            UsageError: If they cannot be read or used; the plugin is named.
        """
        try:
            component.check_parts()
            return component.options[:]
        except (UsageError, ValueError) as error:
            raise does_not_load(plugin, component, error) from error.__cause__

    def library(self, distribution: str, target: str) -> Any:
        """Import what the core uses of a library distribution, which may be missing.

        Raises:
            NotInstalledError: If it is not installed.
            UsageError: If it is disabled or broken, or does not have the target.
        """
        found = [plugin for plugin in self.plugins if plugin.distribution == distribution]
        if any(plugin.status is PluginStatus.OK for plugin in found):
            return imported(target, distribution)
        if not found:
            raise NotInstalledError({"what this needs": distribution})
        raise UsageError(f"this needs {distribution}, which is {_state(found[0])}.")

    def unavailable(self) -> list[Plugin]:
        """Return the plugins of registry.toml that are not installed."""
        installed = {plugin.distribution for plugin in self.plugins}
        return [
            Plugin(entry.distribution, "", entry.name, PluginStatus.AVAILABLE)
            for entry in self.index.plugins
            if entry.distribution not in installed
        ]

    # -------------------------------------------------------------------- observing

    def observe(self, observer: object) -> None:
        """Register an object whose hooks are called in the runs of this host."""
        importing.register(self._manager, observer)

    def observers(self, run_id: str) -> Observers:
        """Return the observers of a run."""
        return Observers(self._manager, run_id)

    def sections(self, model: Any) -> list[tuple[str, Section]]:
        """Return what plugins say of a model that was built, each with the plugin's name."""
        return sections(self._manager, model)


def _offered(plugins: Iterable[Plugin], kind: Kind | None) -> Iterator[tuple[Plugin, Component]]:
    for plugin in plugins:
        for component in plugin.components:
            if kind is None or component.kind == kind:
                yield plugin, component


def _sorted(pairs: Iterable[tuple[Plugin, Offer]]) -> list[tuple[Plugin, Offer]]:
    return sorted(pairs, key=lambda pair: (pair[1].kind, pair[1].name, pair[0].distribution))


def _expect_found(index: Index, found: Sequence[Plugin], only: frozenset[str]) -> None:
    """Raise a UsageError if one of the `only` plugins is not there."""
    for name in sorted(only - {name for each in found for name in each.names}):
        hint = did_you_mean(name, [each.distribution for each in found])
        if name in {entry.distribution for entry in index.plugins}:
            hint = f" To install it: {install_command(name)}."
        raise UsageError(
            f"BNNLAB_ONLY or --isolated names plugin {name!r}, which is not installed.{hint}"
        )


def _expect_loaded(plugins: Iterable[Plugin]) -> None:
    """Raise a UsageError if a plugin that is one file is broken."""
    for each in plugins:
        if each.file and each.status is PluginStatus.BROKEN:
            error = UsageError(f"the plugin {each.file} cannot be loaded: {each.error}")
            raise error from each.exception


def _state(plugin: Plugin) -> str:
    return f"{plugin.status}: {plugin.error}" if plugin.error else str(plugin.status)


def does_not_load(plugin: Plugin, offer: Component | Command, error: BaseException) -> UsageError:
    """Return the error for a component or command that cannot be loaded; it names the plugin."""
    whose = f"{plugin.distribution} {plugin.version}"
    why = str(error) if isinstance(error, UsageError) else explain(error)
    return UsageError(f"{noun(offer.kind)} {offer.name!r} of {whose} cannot be loaded: {why}")


def _ambiguous(kind: str, name: str, plugins: Sequence[Plugin]) -> UsageError:
    """Return the error for a name that several entry points offer."""
    what = f"{noun(kind)} {name!r}"
    whose = list(dict.fromkeys(plugin.distribution for plugin in plugins))
    if len(whose) > 1:
        ways = " or ".join(f"{each}/{name}" for each in whose)
        return UsageError(f"two plugins offer {what}. Choose one: {ways}.")
    ways = " or ".join(f"BNNLAB_DISABLE={plugin.name}" for plugin in plugins)
    return UsageError(
        f"two entry points of {whose[0]} offer {what}. Switch one of them off: {ways}."
    )


def _missing(
    host: PluginHost,
    kind: str,
    name: str,
    said: str,
    offers: Sequence[tuple[Plugin, Component | Command]],
    own: Iterable[str],
) -> UsageError:
    """Return the error for a name, maybe of a certain distribution, that nothing usable offers."""
    what, distribution = f"{noun(kind)} {name!r}", normalise(said)
    installed = {normalise(plugin.distribution) for plugin in host.plugins}
    if said == OBJECT:
        return UsageError(
            f"{what} is an object of Python. To go on with a run that has it, give it again: "
            f"bnnlab.run(resume=FOLDER, {kind}=...)."
        )
    if said.endswith(".py") and distribution not in installed:
        return UsageError(
            f"{what} is in the file {said}. Say where it is: bnn --plugin PATH/{said}, in Python "
            "PluginHost(files=[...])."
        )
    known = host.index.offering(f"{kind}:{name}")
    wanted = distribution or (known.distribution if known else "")
    for plugin in host.plugins:
        is_wanted = normalise(plugin.distribution) == wanted
        if is_wanted and plugin.status is not PluginStatus.OK:
            error = UsageError(
                f"{what} comes with {plugin.distribution}, which is {_state(plugin)}."
            )
            error.__cause__ = plugin.exception
            return error
    if known and known.distribution not in installed:
        return NotInstalledError({what: known.distribution})
    if distribution and distribution not in installed:
        return UsageError(
            f"{noun(kind)} {distribution}/{name}: no plugin of {distribution!r} is installed. "
            "`bnn list-plugins` lists the installed ones."
        )
    others = [plugin.distribution for plugin, offer in offers if offer.name == name]
    if others:  # only the distribution was wrong
        return UsageError(f"{distribution} offers no {what}; {others[0]} does.")
    names = sorted({*own, *(offer.name for _, offer in offers)})
    indexed = sorted(host.index.names(kind))
    hint = did_you_mean(name, [*names, *indexed])
    if not hint:
        none = "" if names else " No installed plugin has one."
        hint = none + (f" Known: {', '.join(names or indexed)}." if names or indexed else "")
    bad = [each for each in host.plugins if each.status is not PluginStatus.OK]
    if bad:
        unsearched = ", ".join(f"{each.distribution} ({each.status})" for each in bad)
        hint += f" Not searched: {unsearched}."
    return UsageError(f"unknown {what}.{hint}")
