"""What `bnn test-plugin` is told: which plugin, and what else of what it offers."""

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from bnnlab.errors import NotInstalledError, UsageError, command, did_you_mean
from bnnlab.registry.discovery import Plugin, PluginStatus, normalise
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import shown
from bnnlab.settings.text import joined, parse_value
from bnnlab_testing.generated import CONTRACTS
from bnnlab_testing.shipped import Offer


def find(host: PluginHost, name: str | None) -> list[Plugin]:
    """Return the plugin of a name, which may have several entry points; without one, the files.

    Raises:
        UsageError: If it is not there, does not work, or offers nothing; or if the options of a
            component cannot be read, as its class is not there.
    """
    if name is None:
        found = [plugin for plugin in host.plugins if plugin.file]
        if not found:
            raise UsageError("name a plugin, as `bnn list-plugins` does, or give --plugin FILE.")
    else:
        found = [plugin for plugin in host.plugins if normalise(name) in plugin.names]
        if not found:
            raise _unknown(host, name)
    for plugin in found:
        if plugin.status is not PluginStatus.OK:
            why = f": {plugin.error}" if plugin.error else ""
            raise UsageError(f"{plugin.distribution} is {plugin.status}{why}") from plugin.exception
    if not any(plugin.components or plugin.commands for plugin in found):
        raise UsageError(f"{found[0].distribution} offers nothing that could be tested.")
    for plugin in found:
        for component in plugin.components:
            host.options(plugin, component)  # or no test could be told what it is
    return found


def _unknown(host: PluginHost, name: str) -> UsageError:
    for entry in host.index.plugins:
        if normalise(name) in (entry.distribution, entry.name):
            return NotInstalledError({f"plugin {name!r}": entry.distribution})
    offers: list[tuple[Plugin, Offer]] = [*host.components(), *host.commands()]
    homes = [plugin.distribution for plugin, its in offers if name in (its.name, str(its))]
    if homes:
        ways = " or ".join(f"`{command('test-plugin', each)}`" for each in dict.fromkeys(homes))
        return UsageError(f"{name!r} is no plugin, but in one. To test that: {ways}.")
    if lacking := host.index.homes(name):
        return NotInstalledError({repr(name): min(lacking)})
    known = {each for plugin in host.plugins for each in (plugin.distribution, plugin.name)}
    near = did_you_mean(name, sorted(known)) or " `bnn list-plugins` lists those that are."
    return UsageError(f"no plugin {name!r} is installed.{near}")


def told(offers: Sequence[Offer], settings: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the attributes that `--set KIND.NAME.ATTRIBUTE=VALUE` gives each one's test class.

    Raises:
        UsageError: If one is of nothing that is offered, or no attribute of its contract.
    """
    places = {f"{each.kind}.{each.name}.": each for each in offers}
    said: dict[str, list[Mapping[str, Any]]] = {place: [] for place in places}
    for text in settings:
        key, equals, written = (part.strip() for part in text.partition("="))
        place = max((each for each in places if key.startswith(each)), key=len, default="")
        if not place or not equals:
            example = f"{next(iter(places))}waits=1"
            raise UsageError(f"--set {shown(text)}: write KIND.NAME.ATTRIBUTE=VALUE, as {example}")
        attribute, *inner = key.removeprefix(place).split(".")
        known = _attributes(places[place])
        if attribute not in known:
            near = did_you_mean(attribute, known) or f" It has {', '.join(known)}."
            raise UsageError(f"--set {shown(text)}: the contract has no {attribute!r}.{near}")
        value = parse_value(written)
        value = tuple(value) if isinstance(value, list) and not inner else value  # a shape
        for each in reversed(inner):
            value = {each: value}
        said[place].append({attribute: value})
    return [joined(said[place]) for place in places]


def _attributes(offer: Offer) -> list[str]:
    """Return what a test class may say of it, from its contract's annotations."""
    contract = getattr(import_module("bnnlab_testing"), CONTRACTS[offer.kind])
    every = {name for each in contract.__mro__ for name in inspect.get_annotations(each)}
    return sorted(every - {"kind", "given", "name"})
