"""The space of a file: what its components declare, and `[tune.space]`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import Kind
from bnnlab.registry.declaration import Option
from bnnlab.registry.forms import forms
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import check_value, shown
from bnnlab.settings.merging import Layer, Named, Settings, merge
from bnnlab.settings.run import ELSEWHERE, KINDS, MEASURING, RUN_OPTIONS, RunConfig
from bnnlab.settings.terms import ONLY_WITH, misplaced
from bnnlab.settings.text import assignment, joined
from bnnlab_optuna.space import Dimension, Key, Range, Space, Values

METHODS = (Kind.RULE, Kind.OPTIMIZER, Kind.MODEL)
"""The kinds whose declared ranges are searched, and of which one may be chosen."""
FIXED: Mapping[str, str] = {
    "seed": "repetitions are [tune] seeds = ...",
    "evaluate_on": "tuning reads validation data only",
    Kind.STREAM: "trials that learn other tasks, or other data, are not compared",
    **dict.fromkeys([*ELSEWHERE, *MEASURING, *({*Kind} - KINDS.keys())], "it changes no result"),
}
"""What is not tuned, and why."""
PROTOCOL = ("epochs", "batch_size")
"""Settings that are searched, although the protocol hash covers them."""
DECADE = 10
"""A range from this factor on is searched on a log scale, if nothing else is said."""
KEYS = ("low", "high", "log", "step")
"""What a range has."""


def read_space(
    host: PluginHost, places: Sequence[Settings | Layer], config: RunConfig, said: Any
) -> Space:
    """Return what is searched.

    Args:
        host: The plugins.
        places: All that set something in the runs; an option that they set is not searched, unless
            `[tune.space]` says so.
        config: What they come to.
        said: The table `[tune.space]`.

    Raises:
        UsageError: On what cannot be searched, and if there is nothing to search.
    """
    if not isinstance(said, Mapping):
        raise UsageError(f"tune.space: {shown(said)} is no table.")
    for name in said:
        if why := FIXED.get(name.partition(".")[0]):
            raise UsageError(f"tune.space.{name}: {why}.")
    asked = joined(assignment(key, value) for key, value in said.items())
    try:
        dimensions = _dimensions(host, places, config, asked)
    except ValueError as error:
        raise UsageError(f"tune.space.{error}") from error
    if not dimensions:
        names = " and ".join(config.choices[kind].component.name for kind in METHODS)
        raise UsageError(
            f"there is nothing to tune: no option of {names} that is not set declares a range. "
            "Write ranges in [tune.space], such as optimizer.lr = { low = 1e-4, high = 0.1 }."
        )
    return Space(tuple(dimensions))


@dataclass(frozen=True)
class _Setting:
    """What may be searched.

    Attributes:
        key: Where it is in the settings of a run. The name of a component ends with `name`.
        option: Its option; None for the name of a component.
        only: What it belongs to alone, as `Dimension` has it.
        is_free: Whether nothing sets it, so that what its component declares is searched.
    """

    key: Key
    option: Option | None
    only: tuple[tuple[Key, str], ...] = ()
    is_free: bool = False

    @property
    def name(self) -> str:
        """As people write it."""
        return ".".join(self.key if self.option else self.key[:-1])


def _dimensions(
    host: PluginHost,
    places: Sequence[Settings | Layer],
    config: RunConfig,
    asked: Mapping[str, Any],
) -> list[Dimension]:
    dimensions, known = list[Dimension](), dict[Key, str]()
    for each in _settings(host, places, config, asked):
        known[each.key] = each.name
        said = _asked(asked, each.key)
        if each.option is None and said is not None:
            what: Range | Values = _names(each.name, said)
        elif each.option and said is not None:
            what = _read(each.name, each.option, said)
        elif each.option and each.is_free and each.option.search:
            what = _declared(each.name, each.option)
        else:
            continue
        when = _belonging(each.name, config, {it.name: it.what for it in dimensions})
        dimensions.append(Dimension(each.key, what, each.only, when))
    for key in _unknown(asked, known):
        name, names = ".".join(key), [it for it in known.values() if it not in {*METHODS}]
        alike = [each for each in names if each.startswith(".".join(key[:-1]) + ".")]
        hint = did_you_mean(name, names) or f" There are: {', '.join(alike)}." * bool(alike)
        raise ValueError(f"{name}: there is no such setting.{hint}")
    return dimensions


def _belonging(
    name: str, config: RunConfig, searched: Mapping[str, Range | Values]
) -> tuple[str, tuple[Any, ...]] | None:
    """Return the searched setting with values to which this one does not belong, and the others.

    Raises:
        ValueError: If it belongs to no value that is tried.
    """
    other, values = ONLY_WITH.get(name, ("", ()))
    tried = searched[other].ends() if other in searched else [getattr(config, other, "")]
    own = tuple(it for it in tried if it in values)
    if other and not own:
        raise ValueError(f"{name}: {misplaced(name, other, ' or '.join(tried))}")
    return (other, own) if other and len(own) < len(tried) else None


def _asked(asked: Any, key: Key) -> Any:
    """Return what `[tune.space]` says of a setting; None if it says nothing.

    Where it has no table for a component that is an option, it says names of it.
    """
    for place, part in enumerate(key):
        if not isinstance(asked, Mapping):
            return asked if key[place:] == ("name",) else None
        asked = asked.get(part)
    return asked


def _unknown(asked: Mapping[str, Any], known: Collection[Key], key: Key = ()) -> Iterator[Key]:
    for name, value in asked.items():
        own = (*key, name)
        if (*own, "name") not in known:
            yield from () if own in known else (own,)
        elif isinstance(value, Mapping):
            yield from _unknown(value, known, own)


def _names(name: str, said: Any) -> Values:
    """Return the components that are tried; raise ValueError if they are no list of names."""
    if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
        raise ValueError(
            f"{name}: {shown(said)} is no list of names. Their options stand beside it, as "
            f"{name}.lr; then the names are {name}.name = [...]."
        )
    return _values(name, said)


def _settings(
    host: PluginHost,
    places: Sequence[Settings | Layer],
    config: RunConfig,
    asked: Mapping[str, Any],
) -> Iterator[_Setting]:
    """Yield all that may be searched: components before their options."""
    yield from (_Setting((kind, "name"), None) for kind in METHODS)
    yield from (_Setting((option.name,), option) for option in RUN_OPTIONS)
    for kind in METHODS:
        for only in _tried(asked, (kind,)):
            own: list[Settings] = [{kind: {"name": only}}] if only else []
            (named,) = merge(host.index, [*places, *own], config.choices[Kind.MODEL].name).of(kind)
            yield from _inside(host, asked, named, (kind,), (((kind,), only),) if only else ())


def _tried(asked: Mapping[str, Any], key: Key) -> Sequence[str | None]:
    """Return the components that are tried somewhere; [None] if it is the one that is set."""
    said = _asked(asked, (*key, "name"))
    return [None] if said is None else _names(".".join(key), said).values


def _inside(
    host: PluginHost,
    asked: Mapping[str, Any],
    named: Named,
    key: Key,
    only: tuple[tuple[Key, str], ...],
) -> Iterator[_Setting]:
    """Yield the options of a component; those of its parts where `[tune.space]` names them."""
    plugin, component = host.resolve(named.kind, named.name.partition(":")[0])
    is_set = {*named.table, component.argument if ":" in named.name else None}
    for option in host.options(plugin, component):
        own = (*key, option.name)
        if option.part is None:
            is_free = len(key) == 1 and option.name not in is_set
            yield _Setting(own, option, only, is_free)
            continue
        yield _Setting((*own, "name"), None, only)
        if _asked(asked, own) is None:
            continue
        inner = named.inside(host.index, option, option.part, ".".join(own))
        for name in _tried(asked, own):
            chosen, told = inner, only
            if name is not None:
                chosen = inner.updated(replace(inner, layers=(Layer({"name": name}),)))
                told = (*only, (own, name))
            yield from _inside(host, asked, chosen, own, told)


def _declared(name: str, option: Option) -> Range | Values:
    """Return what an option declares to be worth trying; raise ValueError if that is wrong."""
    bounds = option.search_range
    try:
        if bounds:
            return _range(name, option, dict(zip(("low", "high"), bounds, strict=True)))
        return _read(name, option, [*(option.search or ())])
    except ValueError as error:
        raise ValueError(f"{error} Its plugin declares it: set it here or in the file.") from None


def _read(name: str, option: Option, said: Any) -> Range | Values:
    """Return what `[tune.space]` says of an option; raise ValueError if that is wrong."""
    if isinstance(said, Mapping):
        return _range(name, option, said)
    if not isinstance(said, list):
        raise ValueError(
            f"{name}: {shown(said)} is neither a list of values nor {{ low = ..., high = ... }}."
        )
    prefix = name.removesuffix(option.name)
    return _values(name, [check_value(option, each, prefix) for each in said])


def _values(name: str, values: Sequence[Any]) -> Values:
    """Return the values of a list; raise ValueError if there are none, or one is there twice."""
    if not values:
        raise ValueError(f"{name}: the list is empty.")
    for place, value in enumerate(values):
        if value in values[:place]:  # also 1 and 1.0, which a study does not tell apart
            raise ValueError(f"{name}: {shown(value)} is there twice.")
    return Values(tuple(values))


def _range(name: str, option: Option, said: Mapping[str, Any]) -> Range:
    """Return the range of an option; raise ValueError if that is wrong."""
    types, prefix = {form.type for form in forms(option.type)}, f"{name}."
    if not types & {int, float}:
        raise ValueError(f"{name} takes no numbers: give a list of values.")
    for key in said.keys() - {*KEYS}:
        hint = did_you_mean(key, KEYS)
        raise ValueError(f"{name}.{key}: a range has low, high, log and step.{hint}")
    for key in ("low", "high"):
        if key not in said:
            raise ValueError(f"{name}: the range has no {key}.")
    number = int if float not in types else float
    low, high = (
        check_value(replace(option, name=key, type=number), said[key], prefix)
        for key in ("low", "high")
    )
    log = check_value(Option("log", bool | None, None, ""), said.get("log"), prefix)
    step = check_value(Option("step", number | None, None, "", above=0), said.get("step"), prefix)
    if low >= high:
        raise ValueError(f"{name}: low, {low:g}, is not below high, {high:g}.")
    if log and low <= 0:
        raise ValueError(f"{name}: a log scale begins above 0, not at {low:g}.")
    if log is None:
        log = step is None and low > 0 and high / low >= DECADE
    if step is not None:
        if log:
            raise ValueError(f"{name}: a range on a log scale has no step.")
        if step > high - low:
            raise ValueError(f"{name}.step: {step:g} must be at most high - low.")
        if number is int:
            high -= (high - low) % step  # the last one
    return Range(low, high, log, step, whole=number is int)
