"""The layers of settings become one configuration, in which every value is checked."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bnnlab.errors import NotInstalledError, UsageError, refuse
from bnnlab.registry.components import MANY, PARTS, Command, Component, Kind
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import check_values, set_in
from bnnlab.registry.recipes import find_recipe
from bnnlab.settings.merging import Layer as Layer
from bnnlab.settings.merging import Merged, Named, merge
from bnnlab.settings.merging import Settings as Settings
from bnnlab.settings.run import ANALYSIS, MEASURING, RUN_KINDS, RUN_OPTIONS, Choice, RunConfig

NOTHING: Mapping[str, str] = {}
DEEPEST = 16
"""How many components may lie inside one another."""


def resolve(
    host: PluginHost, places: Sequence[Settings | Layer], needs: Mapping[str, str] = NOTHING
) -> RunConfig:
    """Merge settings, weakest first, over the registry's defaults, and check every value.

    Raises:
        NotInstalledError: If all that is wrong is that plugins are not installed; with what the
            caller `needs` and is not installed, either.
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
        places=tuple(places),
        **values,
    )


def layers_of_recipe(host: PluginHost, name: str, short: bool = False) -> list[Layer]:
    """Return the settings of a recipe, and over them those of its short form.

    Raises:
        UsageError: If there is no such recipe or short form.
    """
    recipe = find_recipe(host, name)
    layers = [Layer(recipe.settings, f"the recipe {name}")]
    if short:
        if recipe.short is None:
            raise UsageError(
                f"recipe {name!r} has no short form. Run it as it is, or shorten it: --epochs 1"
            )
        layers.append(Layer(recipe.short, f"the short form of the recipe {name}"))
    return layers


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
    model = _default_model(host, *merged.of(Kind.RULE))
    return merged if model is None else merge(host.index, places, model, kinds)


def _default_model(host: PluginHost, rule: Named) -> str | None:
    """Return the default model of a rule, or else of a rule that it is made of."""
    for named in made_of(host, rule):
        if named.kind is not Kind.RULE:
            continue
        try:
            plugin, component = host.resolve(named.kind, named.bare_name)
        except UsageError:
            return None  # `_choose_all` reports it
        if (model := component.default_model) is not None:
            is_own = f"{Kind.MODEL}:{model}" in map(str, plugin.components)
            return f"{plugin.distribution}/{model}" if is_own else model
    return None


def made_of(host: PluginHost, named: Named) -> Iterator[Named]:
    """Yield a component that layers name, and those that it is made of, as far as they are there.

    What is wrong with them is said when they are chosen.
    """
    yield named
    try:
        options = host.options(*host.resolve(named.kind, named.bare_name))
        for option in options if named.place.count(".") < DEEPEST else ():
            if option.part:
                place = f"{named.place or named.kind}.{option.name}"
                yield from made_of(host, named.inside(host.index, option, option.part, place))
    except UsageError:
        return


def _choose_all(
    host: PluginHost,
    merged: Merged,
    kinds: Iterable[Kind],
    faults: Iterable[str],
    needs: Mapping[str, str] = NOTHING,
) -> list[Choice]:
    """Choose the components of some kinds; raise one error with these faults and all found."""
    wrong = _Wrong([*faults, *merged.faults], needs)
    choices = []
    for named in merged.of(*kinds):
        with wrong.collected():
            choices.append(_choose(host, named))
    if wrong.needs and ANALYSIS not in {plugin.distribution for plugin in host.plugins}:
        asked = (name for name in MEASURING if merged.values.get(name) is True)
        wrong.needs |= {f"setting {name!r}": ANALYSIS for name in asked}
    wrong.refuse()
    return choices


class _Wrong:
    """What is wrong, collected to be said at once; and what is not installed."""

    def __init__(self, faults: Iterable[str] = (), needs: Mapping[str, str] = NOTHING) -> None:
        self.faults, self.needs = [*faults], dict(needs)
        self._cause: BaseException | None = None

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect what the block raises for people."""
        try:
            yield
        except NotInstalledError as error:
            self.needs |= error.needs
        except UsageError as error:
            self.faults.append(str(error))
            self._cause = self._cause or error.__cause__

    def refuse(self) -> None:
        """Raise one error, if anything is wrong."""
        refuse(self.faults, self.needs, self._cause)


def choose(
    host: PluginHost, kind: Kind, name: str, given: Mapping[str, Any], place: str = ""
) -> Choice:
    """Resolve a component by its name, or `NAME:VALUE`, and check its options.

    Where it is an option of another component, `place` says of which, as `optimizer.base`.

    Raises:
        UsageError: If a name or an option is wrong.
    """
    return _choose(host, Named(kind, (Layer({**given, "name": name}),), place))


def _choose(host: PluginHost, named: Named) -> Choice:
    where = f"{named.place}: " if named.place else ""
    if named.place.count(".") > DEEPEST:
        raise UsageError(
            f"{where}more than {DEEPEST} components lie inside one another. Name one that is "
            "made of no other."
        )
    try:
        plugin, component = host.resolve(named.kind, named.bare_name)
    except NotInstalledError:
        raise
    except UsageError as error:
        origin = set_in(named.sources.get("name", ""))
        raise UsageError(f"{where}{error}{origin}") from error.__cause__
    return fill(host, plugin, component, _with_argument(named, component))


def _with_argument(named: Named, component: Component) -> Named:
    """Return what is named with the option that its `NAME:VALUE` sets, if it is written so."""
    _, colon, value = named.name.partition(":")
    if not colon:
        return named
    option, source = component.argument, named.sources.get("name", "")
    where = named.place or named.kind
    if option is None:
        raise UsageError(
            f"{where} {component.name!r} takes no argument: leave out ':{value}'.{set_in(source)}"
        )
    if named.table.get(option, value) != value:
        raise UsageError(
            f"{where}.{option} is set twice: to {value!r} by the name and to "
            f"{named.table[option]!r} by the option."
        )
    return replace(named, layers=(Layer({option: value}, source), *named.layers))


def fill(
    host: PluginHost, plugin: Plugin, component: Component, named: Named | None = None
) -> Choice:
    """Choose a component with all its options: those that layers give it, else the defaults.

    Raises:
        UsageError: If an option is wrong, or a component that it is made of is not there.
    """
    kind = component.kind
    named = named or Named(kind, ())
    place = named.place or (f"{kind}.{component.name}" if kind in MANY else kind)
    offered = host.options(plugin, component)
    parts = {option.name for option in offered if option.part}
    values, faults = check_values(
        [option for option in offered if option.name not in parts],
        {key: value for key, value in named.table.items() if key not in ("name", *parts)},
        f"{place}.",
        what=f"option of {component.name}",
        others=parts,
        sources=named.sources,
    )
    wrong = _Wrong(faults)
    for option in offered:
        if option.part:
            inner = f"{place}.{option.name}"
            with wrong.collected():
                named_inside = named.inside(host.index, option, option.part, inner)
                values[option.name] = _choose(host, named_inside)
    wrong.refuse()
    return Choice(plugin, component, {option.name: values[option.name] for option in offered})
