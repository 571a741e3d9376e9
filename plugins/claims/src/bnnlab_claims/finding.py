"""The cards of all plugins, from the files claims.toml and measured.toml of their packages."""

from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any

from bnnlab.engine.figures import SHARE
from bnnlab.engine.result import MEASURES
from bnnlab.errors import NotInstalledError, UsageError, did_you_mean
from bnnlab.registry.components import PARTS
from bnnlab.registry.discovery import PluginStatus
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import read_toml
from bnnlab.registry.recipes import recipe_names, unknown_recipe
from bnnlab_claims.card import Card, Claim
from bnnlab_claims.reading import claim_of, measured_of
from bnnlab_studies.results import range_of, units_of

CLAIMS, MEASURED = "claims.toml", "measured.toml"


def find_cards(host: PluginHost) -> list[Card]:
    """Return the cards of all working plugins, sorted by name; a faulty one has a `fault`."""
    known = _Known(host)
    cards = [
        card
        for plugin in host.plugins
        if plugin.data and any((plugin.data / name).is_file() for name in (CLAIMS, MEASURED))
        for card in _cards(plugin.name, plugin.data, known)
    ]
    return sorted(cards, key=lambda card: card.claim.name)


def find_card(host: PluginHost, name: str) -> Card:
    """Return the card of this name.

    Raises:
        UsageError: If there is none, or it has a fault.
    """
    cards = {card.claim.name: card for card in find_cards(host)}
    if name not in cards:
        for each in host.unavailable():
            if name.startswith(f"{each.name}/"):
                raise NotInstalledError({f"claim {name!r}": each.distribution})
        hint = did_you_mean(name, cards) or " `bnn claims` lists all."
        raise UsageError(f"unknown claim {name!r}.{hint}")
    if fault := cards[name].fault:
        raise UsageError(f"claim {name!r} is broken: {fault}")
    return cards[name]


class _Known:
    """What cards may name, looked up once."""

    def __init__(self, host: PluginHost) -> None:
        self._host, self._recipes = host, recipe_names(host)
        offers = [offer for entry in host.index.plugins for offer in entry.offers]
        self._methods = {*offers, *(str(component) for _, component in host.components())}
        self._units = units_of(host)
        self._measures = {name.partition(".")[0] for name in (*MEASURES, *self._units)}
        working = (each for each in host.plugins if each.status is PluginStatus.OK)
        self._silent = {each.name for each in (*host.plugins, *host.unavailable())} - {
            each.name for each in working
        }

    def check(self, claim: Claim) -> None:
        """Raise UsageError if a claim names a method, recipe or measure that is not there."""
        for method in claim.of:
            if method.partition(":")[0] not in PARTS:
                kinds = ", ".join(PARTS)
                raise UsageError(f"of: {method!r} is no KIND:NAME; kinds are {kinds}.")
            if method not in self._methods:
                near = did_you_mean(method, self._methods)
                raise UsageError(f"of: no plugin offers {method!r}.{near}")
        if claim.recipe not in self._recipes:
            if claim.recipe.partition("/")[0] in self._silent:
                return  # the recipe of a plugin that is not there, or switched off
            raise unknown_recipe(self._host, claim.recipe, self._recipes)
        head = claim.measure.partition(".")[0]
        if head not in self._measures:
            near = did_you_mean(head, self._measures)
            raise UsageError(f"measure: no result has {head!r}.{near}")
        if range_of(claim.measure, SHARE, self._units) != (0, 1):
            raise UsageError(
                f"measure: {claim.measure} is no share from 0 to 1 of which more is better. "
                "Figures of claims are in %."
            )


def _cards(plugin: str, folder: Traversable, known: _Known) -> Iterator[Card]:
    tables, fault = _tables(folder / CLAIMS)
    if fault:
        yield Card(Claim(f"{plugin}/{CLAIMS}"), fault=fault)
    values, lost = _tables(folder / MEASURED) if (folder / MEASURED).is_file() else ({}, None)
    for key, table in tables.items():
        yield _card(f"{plugin}/{key}", table, values.get(key, {}), lost, known)
    for key in values.keys() - tables.keys() if not fault else ():
        near = did_you_mean(key, tables)
        why = f"{MEASURED} has values of it, and {CLAIMS} no such claim.{near}"
        yield Card(Claim(f"{plugin}/{key}"), fault=why)


def _card(name: str, table: Any, values: Any, lost: str | None, known: _Known) -> Card:
    """Return a card; `lost` is why the values that were measured cannot be read."""
    try:
        claim = claim_of(name, table)
        known.check(claim)
        if lost:
            raise UsageError(lost)
    except UsageError as error:
        return Card(Claim(name), fault=f"{error}")
    try:
        return Card(claim, measured_of(values))
    except UsageError as error:
        return Card(Claim(name), fault=f"{MEASURED}: {error}")


def _tables(file: Traversable) -> tuple[Mapping[str, Any], str | None]:
    """Return the tables of a file, and why it cannot be read."""
    try:
        return read_toml(file), None
    except UsageError as error:
        return {}, str(error)
