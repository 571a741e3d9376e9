"""The space of a file: what its components declare, and `[tune.space]`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import Kind
from bnnlab.registry.declaration import Option
from bnnlab.registry.forms import forms
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import check_value, shown
from bnnlab.settings.merging import Layer, Settings, merge
from bnnlab.settings.run import ELSEWHERE, KINDS, MEASURING, RUN_OPTIONS, RunConfig
from bnnlab.settings.text import assignment, joined
from bnnlab_optuna.space import Dimension, Range, Space, Values

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
    joint = joined(assignment(key, value) for key, value in said.items())
    asked = {key: value for key, value in joint.items() if key not in KINDS}
    for kind in METHODS:
        asked |= {f"{kind}.{key}": value for key, value in joint.get(kind, {}).items()}
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


def _dimensions(
    host: PluginHost, places: Sequence[Settings | Layer], config: RunConfig, asked: dict[str, Any]
) -> list[Dimension]:
    names = {kind: asked.pop(f"{kind}.name") for kind in METHODS if f"{kind}.name" in asked}
    dimensions = [Dimension(kind, (kind, "name"), _names(kind, it)) for kind, it in names.items()]
    known = []
    for name, option, only, is_free in _options(host, places, config, names):
        known.append(name)
        if name in asked:
            what = _read(name, option, asked[name])
        elif is_free and option.search:
            what = _declared(name, option)
        else:
            continue
        label = name.replace(".", f":{only}.", 1) if only else name
        dimensions.append(Dimension(label, tuple(name.split(".")), what, only))
    for name in asked.keys() - {*known}:
        alike = [each for each in known if each.startswith(name.partition(".")[0] + ".")]
        hint = did_you_mean(name, known) or f" There are: {', '.join(alike)}." * bool(alike)
        raise ValueError(f"{name}: there is no such setting.{hint}")
    return dimensions


def _names(kind: Kind, said: Any) -> Values:
    """Return the components that are tried; raise ValueError if they are no list of names."""
    if not isinstance(said, list) or not all(isinstance(name, str) for name in said):
        raise ValueError(
            f"{kind}: {shown(said)} is no list of names. Their options stand beside it, as "
            f"{kind}.lr; then the names are {kind}.name = [...]."
        )
    return _values(kind, said)


def _options(
    host: PluginHost,
    places: Sequence[Settings | Layer],
    config: RunConfig,
    names: Mapping[Kind, Sequence[str]],
) -> Iterator[tuple[str, Option, str | None, bool]]:
    """Yield all that may be searched, by dotted name.

    Beside each option: its component, where several are tried; whether nothing sets it.
    """
    yield from ((option.name, option, None, False) for option in RUN_OPTIONS)
    for kind in METHODS:
        for only in names.get(kind, [None]):
            own: list[Settings] = [{kind: {"name": only}}] if only else []
            (said,) = merge(host.index, [*places, *own], config.choices[Kind.MODEL].name).of(kind)
            plugin, component = host.resolve(kind, only or config.choices[kind].name)
            is_set = {*said.table, component.argument if ":" in said.name else None}
            for option in host.options(plugin, component):
                yield f"{kind}.{option.name}", option, only, option.name not in is_set


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
