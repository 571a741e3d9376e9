"""The settings of all places are merged and checked, with the place that set each value."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bnnlab.errors import NotInstalledError, UsageError, refuse
from bnnlab.registry.components import MANY, PARTS, Command, Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import Index, as_table, user_file
from bnnlab.registry.options import check_values, set_in, shown
from bnnlab.settings.run import ANALYSIS, MEASURING, RUN_KINDS, RUN_OPTIONS, Choice, RunConfig

NOTHING: Mapping[str, str] = MappingProxyType({})

Settings = Mapping[str, Any]
"""Run settings by name, and per kind a component's name or a table with `name` and options."""


@dataclass(frozen=True)
class Layer:
    """The settings of one place.

    Attributes:
        settings: What it sets.
        source: The file or recipe, for error messages. Empty for a command line or a call.
    """

    settings: Settings
    source: str = ""


@dataclass(frozen=True)
class Named:
    """A component that layers name, and the options they give it; nothing is checked.

    Attributes:
        kind: Of the component.
        table: Its `name` (`NAME`, `DISTRIBUTION/NAME` or `NAME:VALUE`) and its options.
        sources: The place that set each of them.
    """

    kind: Kind
    table: Settings
    sources: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name as it was written; empty if no layer has said it."""
        return str(self.table.get("name", ""))

    def updated(self, other: "Named") -> "Named":
        """Merge a stronger layer over this one; another name drops the earlier options."""
        if "name" in other.table and not _is_same(self.name, other.name):
            return other
        table, sources = {**self.table, **other.table}, {**self.sources, **other.sources}
        return Named(self.kind, table, sources)


def _is_same(one: str, other: str) -> bool:
    """Compare component names; each may be written with or without its distribution."""
    (one_in, _, one), (other_in, _, other) = one.rpartition("/"), other.rpartition("/")
    return one == other and (not one_in or not other_in or one_in == other_in)


@dataclass(frozen=True)
class Merged:
    """All layers as one, not checked.

    Attributes:
        components: What is named: at most one of a kind, but any number of those in `MANY`.
        values: The run's own settings by name.
        sources: The place that set each of them.
        faults: Settings that should name components, and do not.
    """

    components: list[Named] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def of(self, *kinds: Kind) -> list[Named]:
        """Return the components of these kinds, in their order."""
        return [named for kind in kinds for named in self.components if named.kind is kind]

    def put(self, named: Named) -> None:
        """Merge what a stronger layer says of a component over what there is of it."""
        for place, before in enumerate(self.components):
            is_one = named.kind not in MANY or _is_same(before.name, named.name)
            if before.kind is named.kind and is_one:
                self.components[place] = before.updated(named)
                return
        self.components.append(named)


def merge(
    index: Index,
    places: Iterable[Settings | Layer],
    model: str | None = None,
    kinds: Collection[Kind] = RUN_KINDS,
) -> Merged:
    """Merge settings, weakest first, over the registry's defaults.

    A layer's options belong to the component it names. If it names another component than the
    weaker layers, their options are dropped.

    Args:
        index: The registry.
        places: All that set something.
        model: A model that comes before the registry's default.
        kinds: The kinds of component that may be named; `values` has every other key.
    """
    merged = Merged()
    own = Layer(_qualified(index, index.own), str(user_file()))
    better: Settings = {} if model is None else {str(Kind.MODEL): model}
    for place in (_qualified(index, index.defaults), own, better, *places):
        layer = place if isinstance(place, Layer) else Layer(place)
        for key, value in layer.settings.items():
            if key not in kinds:
                merged.values[key], merged.sources[key] = value, layer.source
                continue
            try:
                for table in _tables(Kind(key), value):
                    merged.put(Named(Kind(key), table, dict.fromkeys(table, layer.source)))
            except ValueError as error:
                merged.faults.append(f"{key}: {shown(value)} is {error}.{set_in(layer.source)}")
    return merged


def _qualified(index: Index, defaults: Settings) -> Settings:
    """Write the components of the defaults as `DISTRIBUTION/NAME`, so that each name is unique."""
    qualified = dict(defaults)
    for key, value in defaults.items():
        table = as_table(value) or {}
        if offering := index.offering(f"{key}:{table.get('name')}"):
            qualified[key] = {**table, "name": f"{offering.distribution}/{table['name']}"}
    return qualified


def _tables(kind: Kind, value: Any) -> list[Settings]:
    """Return the tables of the components that a setting names; raise ValueError if it does not.

    Those of a kind in `MANY` are a name, a list of names and of tables with `name`, or a table of
    options per name.
    """
    if kind not in MANY:
        table = as_table(value)
        if table is None:
            raise ValueError("neither a name nor a table with one")
        return [table]
    if isinstance(value, Mapping) and all(isinstance(each, Mapping) for each in value.values()):
        every: Iterable[Any] = [{**options, "name": name} for name, options in value.items()]
    else:
        every = value if isinstance(value, list | tuple) else [value]
    tables = [as_table(each) or {} for each in every]
    if not all("name" in table for table in tables):
        raise ValueError("neither a list of names nor tables of options by name")
    return tables


def resolve(
    host: PluginHost, places: Sequence[Settings | Layer], needs: Mapping[str, str] = NOTHING
) -> RunConfig:
    """Merge settings, weakest first, over the registry's defaults, and check every value.

    Args:
        host: The plugins.
        places: All that set something, weakest first.
        needs: What else is not installed, as `NotInstalledError` has it: said with the rest.

    Raises:
        NotInstalledError: If all that is wrong is that plugins are not installed.
        UsageError: With everything that is wrong.
    """
    merged = _merge_all(host, places)
    for name in merged.values.keys() & {*host.index.names(Command.kind)}:
        raise UsageError(f"[{name}] is for the command bnn {name}.{set_in(merged.sources[name])}")
    values, faults = check_values(
        RUN_OPTIONS, merged.values, what="setting", others=RUN_KINDS, sources=merged.sources
    )
    faults += [
        f"{name}: the text is empty.{set_in(merged.sources.get(name, ''))}"
        for name, value in values.items()
        if value == ""
    ]
    chosen = _choose_all(host, merged, RUN_KINDS, faults, needs)
    return RunConfig(
        choices={each.component.kind: each for each in chosen if each.component.kind in PARTS},
        probes={each.name: each for each in chosen if each.component.kind is Kind.PROBE},
        trackers={each.name: each for each in chosen if each.component.kind is Kind.TRACKER},
        **values,
    )


def resolve_components(
    host: PluginHost, places: Sequence[Settings | Layer], kinds: Sequence[Kind]
) -> dict[Kind, Choice]:
    """Do `resolve` for the components of some kinds only; return their choices.

    Raises:
        UsageError: With everything that is wrong with these components.
    """
    chosen = _choose_all(host, _merge_all(host, places, {*RUN_KINDS, *kinds}), kinds, [])
    return {each.component.kind: each for each in chosen}


def _merge_all(
    host: PluginHost, places: Sequence[Settings | Layer], kinds: Collection[Kind] = RUN_KINDS
) -> Merged:
    """Merge settings over the registry's defaults, and over the model of the rule they choose."""
    merged = merge(host.index, places, kinds=kinds)
    (rule,) = merged.of(Kind.RULE)
    try:
        plugin, component = host.resolve(Kind.RULE, rule.name.partition(":")[0])
    except UsageError:
        return merged  # `_choose_all` reports it
    model = component.default_model
    if model is None:
        return merged
    if f"{Kind.MODEL}:{model}" in map(str, plugin.components):
        model = f"{plugin.distribution}/{model}"
    return merge(host.index, places, model, kinds)


def _choose_all(
    host: PluginHost,
    merged: Merged,
    kinds: Iterable[Kind],
    faults: Iterable[str],
    needs: Mapping[str, str] = NOTHING,
) -> list[Choice]:
    """Choose the components of some kinds; raise one error with these faults and all found."""
    faults, causes, needs = [*faults, *merged.faults], [], dict(needs)
    choices = []
    for named in merged.of(*kinds):
        options = {key: value for key, value in named.table.items() if key != "name"}
        try:
            choices.append(choose(host, named.kind, named.name, options, named.sources))
        except NotInstalledError as error:
            needs |= error.needs
        except UsageError as error:
            faults.append(str(error))
            causes.append(error.__cause__)
    if needs and ANALYSIS not in {plugin.distribution for plugin in host.plugins}:
        asked = (name for name in MEASURING if merged.values.get(name) is True)
        needs |= {f"setting {name!r}": ANALYSIS for name in asked}
    refuse(faults, needs, next(filter(None, causes), None))
    return choices


def choose(
    host: PluginHost,
    kind: Kind,
    name: str,
    given: Mapping[str, Any],
    sources: Mapping[str, str] | None = None,
) -> Choice:
    """Resolve a component by its name, or `NAME:VALUE`, and check its options.

    Args:
        host: The plugins.
        kind: Of the component.
        name: As it was written.
        given: Options by name.
        sources: The place that set each option, and the `name`, for error messages.

    Raises:
        UsageError: If the name or an option is wrong.
    """
    sources = sources or {}
    origin = set_in(sources.get("name", ""))
    name, colon, argument = name.partition(":")
    try:
        plugin, component = host.resolve(kind, name)
    except NotInstalledError:
        raise
    except UsageError as error:
        raise UsageError(f"{error}{origin}") from error.__cause__
    if colon:
        if component.argument is None:
            raise UsageError(f"{kind} {name!r} takes no argument: leave out ':{argument}'.{origin}")
        if given.get(component.argument, argument) != argument:
            raise UsageError(
                f"{kind}.{component.argument} is set twice: to {argument!r} by the name and to "
                f"{given[component.argument]!r} by the option."
            )
        given = {component.argument: argument, **given}
        sources = {component.argument: sources.get("name", ""), **sources}
    table = f"{kind}.{component.name}" if kind in MANY else kind
    offered = host.options(plugin, component)
    options, faults = check_values(
        offered, given, f"{table}.", what=f"option of {component.name}", sources=sources
    )
    if faults:
        raise UsageError(" ".join(faults))
    return Choice(plugin, component, options)
