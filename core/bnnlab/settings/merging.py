"""The settings of all places are merged, each with the place that set it. Nothing is checked."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.markers import Part
from bnnlab.registry.components import MANY, Kind, Option
from bnnlab.registry.index import Index, as_table, user_file
from bnnlab.registry.options import set_in, shown
from bnnlab.settings.run import RUN_KINDS

_NO_TABLE = "neither a name nor a table with one"

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
        kind: Of the component.
        layers: What each place says of it, weakest first: its `name` (`NAME`, `DISTRIBUTION/NAME`
            or `NAME:VALUE`) and its options.
        place: Where it is an option of another component, as `optimizer.base`; else empty.
    """

    kind: Kind
    layers: tuple[Layer, ...]
    place: str = ""

    @property
    def table(self) -> Settings:
        """All that is said of it; a stronger layer comes before a weaker one."""
        return {key: value for layer in self.layers for key, value in layer.settings.items()}

    @property
    def sources(self) -> Mapping[str, str]:
        """The place that set each entry of `table`."""
        return {key: layer.source for layer in self.layers for key in layer.settings}

    @property
    def name(self) -> str:
        """The name as it was written; empty if no layer has said it."""
        return str(self.table.get("name", ""))

    @property
    def bare_name(self) -> str:
        """The name without the argument in `NAME:VALUE`."""
        return self.name.partition(":")[0]

    def updated(self, other: "Named") -> "Named":
        """Merge a stronger layer over this one; another name drops the earlier options."""
        if "name" in other.table and not is_same(self.name, other.name):
            return other
        return replace(self, layers=self.layers + other.layers)

    def inside(self, index: Index, option: Option, part: Part, place: str) -> "Named":
        """Return what is said of an option that is a component, over its default.

        Raises:
            UsageError: If a layer gives it neither a name nor a table.
        """
        default = qualified(index, part.kind, option.default)
        found = Named(Kind(part.kind), (Layer({"name": default}),), place)
        for layer in self.layers:
            if option.name not in layer.settings:
                continue
            table = as_table(layer.settings[option.name])
            if table is None:
                said = f"{place}: {shown(layer.settings[option.name])} is {_NO_TABLE}"
                raise UsageError(f"{said}.{set_in(layer.source)}")
            found = found.updated(replace(found, layers=(Layer(table, layer.source),)))
        return found


def is_same(one: str, other: str) -> bool:
    """Compare component names; each may be written with or without its distribution."""
    (one_in, _, one), (other_in, _, other) = one.rpartition("/"), other.rpartition("/")
    return one == other and (not one_in or not other_in or one_in == other_in)


@dataclass(frozen=True)
class Merged:
    """All layers as one.

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
            is_one = named.kind not in MANY or is_same(before.name, named.name)
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
    weaker layers, their options are dropped. A `model` comes before the registry's default. What
    is no component of these kinds is a value.
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
                    merged.put(Named(Kind(key), (Layer(table, layer.source),)))
            except ValueError as error:
                merged.faults.append(f"{key}: {shown(value)} is {error}.{set_in(layer.source)}")
    return merged


def _qualified(index: Index, defaults: Settings) -> Settings:
    """Write the components of the defaults so that each name is unique."""
    found = dict(defaults)
    for key, value in defaults.items():
        table = as_table(value) or {}
        if (name := qualified(index, key, table.get("name", ""))) != table.get("name", ""):
            found[key] = {**table, "name": name}
    return found


def qualified(index: Index, kind: str, name: str) -> str:
    """Return a component's name as `DISTRIBUTION/NAME`, if the registry has it."""
    offering = index.offering(f"{kind}:{name}")
    return f"{offering.distribution}/{name}" if offering else name


def _tables(kind: Kind, value: Any) -> list[Settings]:
    """Return the tables of the components that a setting names; raise ValueError if it does not.

    Those of a kind in `MANY` are a name, a list of names and of tables with `name`, or a table of
    options per name.
    """
    if kind not in MANY:
        table = as_table(value)
        if table is None:
            raise ValueError(_NO_TABLE)
        return [table]
    if isinstance(value, Mapping) and all(isinstance(each, Mapping) for each in value.values()):
        every: Iterable[Any] = [{**options, "name": name} for name, options in value.items()]
    else:
        every = value if isinstance(value, list | tuple) else [value]
    tables = [as_table(each) or {} for each in every]
    if not all("name" in table for table in tables):
        raise ValueError("neither a list of names nor tables of options by name")
    return tables
