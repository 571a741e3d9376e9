"""The settings of all places are merged and checked, with the place that set each value."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import Index, as_table, user_file
from bnnlab.registry.options import check_values, set_in, shown
from bnnlab.settings.run import RUN_OPTIONS, Choice, RunConfig

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
    """A component that layers name, and the options they give it.

    Attributes:
        name: As it was written: `NAME`, `DISTRIBUTION/NAME` or `NAME:VALUE`.
        options: Values by name, not checked.
        sources: The place that set each option, and the `name`.
    """

    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def updated(self, table: Settings, source: str) -> "Named":
        """Merge a stronger layer over a component; another name drops the earlier options."""
        name = table.get("name", self.name)
        before = self if _is_same(self.name, name) else Named()
        options = {key: value for key, value in table.items() if key != "name"}
        return Named(
            name,
            {**before.options, **options},
            {**before.sources, **dict.fromkeys(table, source)},
        )


def _is_same(one: str, other: str) -> bool:
    """Compare component names; each may be written with or without its distribution."""
    (one_in, _, one), (other_in, _, other) = one.rpartition("/"), other.rpartition("/")
    return one == other and (not one_in or not other_in or one_in == other_in)


@dataclass(frozen=True)
class Merged:
    """All layers as one, not checked.

    Attributes:
        components: Per kind, the component and its options.
        probes: Per probe, by its name, its options.
        values: The run's own settings by name.
        sources: The place that set each of them.
        faults: Settings of components that are neither a name nor a table.
    """

    components: dict[Kind, Named] = field(default_factory=dict)
    probes: dict[str, Named] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def merge(layers: Iterable[Layer], kinds: Collection[Kind] = PARTS) -> Merged:
    """Merge layers, weakest first.

    A layer's options belong to the component it names. If it names another component than the
    weaker layers, their options are dropped.

    Args:
        layers: All places that set something.
        kinds: Settings of these names choose a component.
    """
    merged = Merged()
    for layer in layers:
        for key, value in layer.settings.items():
            if key == Kind.PROBE and key not in kinds:
                _add_probes(merged, value, layer.source)
                continue
            if key not in kinds:
                merged.values[key], merged.sources[key] = value, layer.source
                continue
            kind, table = Kind(key), as_table(value)
            if table is None:
                fault = f"{key}: {shown(value)} is neither a name nor a table with one."
                merged.faults.append(fault + set_in(layer.source))
                continue
            before = merged.components.get(kind, Named())
            merged.components[kind] = before.updated(table, layer.source)
    return merged


def _add_probes(merged: Merged, value: Any, source: str) -> None:
    """Add the probes of a layer: names, or tables of options by name."""
    tables = probe_tables(value)
    if tables is None:
        fault = f"probe: {shown(value)} is neither a list of names nor tables of options by name."
        merged.faults.append(fault + set_in(source))
        return
    for name, options in tables.items():
        known = next((each for each in merged.probes if _is_same(each, name)), name)
        before = merged.probes.get(known, Named())
        merged.probes[known] = before.updated({**options, "name": name}, source)


def probe_tables(value: Any) -> dict[str, Settings] | None:
    """Return the options of each probe by its name; None if the value names no probes.

    Args:
        value: A name, a list of names and of tables with `name`, or a table of options per name.
    """
    if isinstance(value, Mapping) and all(isinstance(each, Mapping) for each in value.values()):
        return dict(value)
    every = value if isinstance(value, list | tuple) else [value]
    tables = [as_table(each) or {} for each in every]
    if not all("name" in table for table in tables):
        return None
    return {each["name"]: {k: v for k, v in each.items() if k != "name"} for each in tables}


def registry_layers(index: Index) -> list[Layer]:
    """Return the registry's defaults and, stronger, those of the user's own file.

    Components are named `DISTRIBUTION/NAME`, so that no other plugin's component of the same name
    is meant.
    """
    defaults = {key: _qualified(index, key, value) for key, value in index.defaults.items()}
    own = {key: value for key, value in defaults.items() if key in index.own}
    return [Layer(defaults), Layer(own, str(user_file()))]


def _qualified(index: Index, key: str, value: Any) -> Any:
    table = as_table(value) or {}
    offering = index.offering(f"{key}:{table.get('name')}")
    return {**table, "name": f"{offering.distribution}/{table['name']}"} if offering else value


def as_layers(places: Iterable[Settings | Layer]) -> list[Layer]:
    """Return each place's settings as a layer; plain settings come from no file."""
    return [place if isinstance(place, Layer) else Layer(place) for place in places]


def resolve(host: PluginHost, places: Sequence[Settings | Layer]) -> RunConfig:
    """Merge settings, weakest first, over the registry's defaults, and check every value.

    Raises:
        UsageError: With everything that is wrong.
    """
    merged = _merge_all(host, places, PARTS)
    values, faults = check_values(
        RUN_OPTIONS,
        merged.values,
        what="setting",
        others=(*PARTS, Kind.PROBE),
        sources=merged.sources,
    )
    empty = (name for name, value in values.items() if value == "")
    faults += [
        f"{name}: the text is empty.{set_in(merged.sources.get(name, ''))}" for name in empty
    ]
    probes: dict[str, Choice] = {}
    for named in merged.probes.values():
        try:
            probe = choose(host, Kind.PROBE, named.name, named.options, named.sources)
            probes[f"{probe.plugin.distribution}/{probe.component.name}"] = probe
        except UsageError as error:
            faults.append(str(error))
    choices = _choose_all(host, merged, PARTS, faults)
    return RunConfig(choices=choices, probes=probes, **values)


def resolve_components(
    host: PluginHost, places: Sequence[Settings | Layer], kinds: Sequence[Kind]
) -> dict[Kind, Choice]:
    """Do `resolve` for the components of some kinds only; return their choices.

    Raises:
        UsageError: With everything that is wrong with these components.
    """
    return _choose_all(host, _merge_all(host, places, {*PARTS, *kinds}), kinds, [])


def _merge_all(
    host: PluginHost, places: Iterable[Settings | Layer], kinds: Collection[Kind]
) -> Merged:
    """Merge settings over the registry's defaults, and over the model of the rule they choose."""
    registry, layers = registry_layers(host.index), as_layers(places)
    merged = merge([*registry, *layers], kinds)
    model = _own_model(host, merged.components[Kind.RULE].name)
    return merge([*registry, Layer({Kind.MODEL: model}), *layers], kinds) if model else merged


def _own_model(host: PluginHost, rule: str) -> str | None:
    """Return the rule's default model; None if it has none."""
    try:
        plugin, component = host.resolve(Kind.RULE, rule.partition(":")[0])
    except UsageError:
        return None  # `_choose_all` reports it
    name = component.default_model
    if name is None:
        return None
    is_own = f"{Kind.MODEL}:{name}" in map(str, plugin.components)
    return f"{plugin.distribution}/{name}" if is_own else name


def _choose_all(
    host: PluginHost, merged: Merged, kinds: Iterable[Kind], faults: Iterable[str]
) -> dict[Kind, Choice]:
    """Choose the components of some kinds; raise UsageError with these faults and all found."""
    faults, causes = [*faults, *merged.faults], []
    choices = {}
    for kind in kinds:
        if kind not in merged.components:
            continue  # what should name it is one of the faults
        named = merged.components[kind]
        try:
            choices[kind] = choose(host, kind, named.name, named.options, named.sources)
        except UsageError as error:
            faults.append(str(error))
            causes.append(error.__cause__)
    if faults:
        raise UsageError(" ".join(faults)) from next(filter(None, causes), None)
    return choices


def choose(
    host: PluginHost,
    kind: Kind,
    name: str,
    given: Mapping[str, Any],
    sources: Mapping[str, str] | None = None,
) -> Choice:
    """Resolve a component and check its options.

    Args:
        host: The plugins.
        kind: Of the component.
        name: Its name, or `NAME:VALUE` where it takes an argument.
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
    table = f"{kind}.{component.name}" if kind is Kind.PROBE else kind
    offered = host.options(plugin, component)
    options, faults = check_values(offered, given, f"{table}.", sources=sources)
    if faults:
        raise UsageError(" ".join(faults))
    return Choice(plugin, component, options)
