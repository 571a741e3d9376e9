"""The space of a file: what its components declare, and `[tune.space]`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import Kind
from bnnlab.registry.declaration import Option
from bnnlab.registry.forms import forms
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import check_value, shown
from bnnlab.settings.layers import Layer, Settings, merge
from bnnlab.settings.run import RUN_OPTIONS, RunConfig
from bnnlab.settings.text import assignment, joined
from bnnlab_optuna.space import Dimension, Range, Space, Values

METHODS = (Kind.RULE, Kind.OPTIMIZER, Kind.MODEL)
"""The kinds whose declared ranges are searched, and of which one may be chosen."""
FIXED = {
    "seed": "repetitions are [tune] seeds = ...",
    "evaluate_on": "tuning reads validation data only",
} | dict.fromkeys(
    ("out", "name", "data", "device", "checkpoint_minutes", "threads"), "it changes no result"
)
"""Settings that are not tuned, and why."""
DECADE = 10
"""A range from this factor on is searched on a log scale, if nothing else is said."""


def read_space(
    host: PluginHost, places: Sequence[Settings | Layer], config: RunConfig, said: Any
) -> Space:
    """Return what is searched.

    Args:
        host: The plugins.
        places: All that set something in the runs; an option that they set is not searched, unless
            `[tune.space]` says so.
        config: What they come to.
        said: The table `[tune.space]`; None if there is none.

    Raises:
        UsageError: On what cannot be searched, and if there is nothing to search.
    """
    said = {} if said is None else said
    if not isinstance(said, Mapping):
        raise UsageError(f"tune.space: {shown(said)} is no table.")
    for name in said:
        if name.partition(".")[0] in set(Kind) - {*METHODS, Kind.STREAM}:
            raise UsageError(f"tune.space.{name}: it changes no result.")
    asked = joined(assignment(key, value) for key, value in said.items())
    try:
        dimensions = [
            *_chosen(host, asked),
            *_settings({key: value for key, value in asked.items() if key not in tuple(Kind)}),
        ]
        for kind in (*METHODS, Kind.STREAM):
            dimensions += _options(host, places, config, kind, asked.get(kind, {}))
    except ValueError as error:
        raise UsageError(f"tune.space.{error}") from error
    if not dimensions:
        names = " and ".join(config.choices[kind].component.name for kind in METHODS)
        raise UsageError(
            f"there is nothing to tune: no option of {names} that is not set declares a range. "
            "Write ranges in [tune.space], such as optimizer.lr = { low = 1e-4, high = 0.1 }."
        )
    return Space(tuple(dimensions))


def _chosen(host: PluginHost, asked: Mapping[str, Any]) -> Iterator[Dimension]:
    """Yield the kinds of which several components are tried."""
    if "name" in asked.get(Kind.STREAM, {}):
        raise ValueError("stream: trials on other streams are not compared.")
    for kind in METHODS:
        names = asked.get(kind, {}).get("name")
        if names is None:
            continue
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"{kind}: {shown(names)} is no list of names. Their options stand beside it, as "
                f"{kind}.lr; then the names are {kind}.name = [...]."
            )
        for name in _distinct(kind, names):
            host.resolve(kind, name)
        yield Dimension(kind, (kind, "name"), Values(tuple(names)))


def _settings(asked: Mapping[str, Any]) -> Iterator[Dimension]:
    """Yield the settings of the run itself that are searched."""
    options = {option.name: option for option in RUN_OPTIONS}
    for name, value in asked.items():
        if name in FIXED:
            raise ValueError(f"{name}: {FIXED[name]}.")
        if name not in options:
            hint = did_you_mean(name, [*options, *METHODS])
            raise ValueError(f"{name}: there is no such setting.{hint}")
        yield Dimension(name, (name,), _read(name, options[name], value))


def _options(
    host: PluginHost,
    places: Sequence[Settings | Layer],
    config: RunConfig,
    kind: Kind,
    asked: Mapping[str, Any],
) -> Iterator[Dimension]:
    """Yield the options of a kind's component that are searched, or of each that is tried."""
    names = asked.get("name") or [config.choices[kind].name]
    found: dict[str, None] = {}
    for name in names:
        only = name if "name" in asked else None
        plugin, component = host.resolve(kind, name.partition(":")[0])
        (merged,) = merge(host.index, [*places, {kind: {"name": name}}]).of(kind)
        is_set = {*merged.table, component.argument if ":" in name else None}
        for option in host.options(plugin, component):
            found[option.name] = None
            label = f"{kind}.{option.name}" if only is None else f"{kind}:{name}.{option.name}"
            if option.name in asked:
                what = _read(f"{kind}.{option.name}", option, asked[option.name])
            elif kind in METHODS and option.search and option.name not in is_set:
                what = _declared(f"{kind}.{option.name}", option)
            else:
                continue
            yield Dimension(label, (kind, option.name), what, only)
    for name in asked.keys() - {*found, "name"}:
        whose = " and ".join(each.rpartition("/")[2] for each in names)
        hint = did_you_mean(name, found) or f" There are: {', '.join(found)}."
        raise ValueError(f"{kind}.{name}: {whose} has no such option.{hint}")


def _declared(name: str, option: Option) -> Range | Values:
    """Return what an option declares to be worth trying; raise ValueError if that is wrong."""
    bounds = option.search_range
    said = dict(zip(("low", "high"), bounds, strict=True)) if bounds else [*(option.search or ())]
    try:
        return _read(name, option, said)
    except ValueError as error:
        raise ValueError(f"{error} Its plugin declares it: set it here or in the file.") from None


def _is_log(low: float, high: float) -> bool:
    return low > 0 and high / low >= DECADE


def _read(name: str, option: Option, said: Any) -> Range | Values:
    """Return what `[tune.space]` says of an option; raise ValueError if that is wrong."""
    prefix = name.removesuffix(option.name)
    if isinstance(said, list):
        return Values(tuple(_distinct(name, [check_value(option, it, prefix) for it in said])))
    if not isinstance(said, Mapping):
        raise ValueError(
            f"{name}: {shown(said)} is neither a list of values nor {{ low = ..., high = ... }}."
        )
    for key in said.keys() - {"low", "high", "log", "step"}:
        hint = did_you_mean(key, ["low", "high", "log", "step"])
        raise ValueError(f"{name}.{key}: a range has low, high, log and step.{hint}")
    for key in ("low", "high"):
        if key not in said:
            raise ValueError(f"{name}: the range has no {key}.")
    types = {form.type for form in forms(option.type)}
    if not types & {int, float}:
        raise ValueError(f"{name} takes no numbers: give a list of values.")
    low, high = (check_value(option, said[key], prefix) for key in ("low", "high"))
    for each in (low, high):
        if isinstance(each, bool | str | list) or each is None:
            raise ValueError(f"{name}: {shown(each)} is not a number.")
    if low >= high:
        raise ValueError(f"{name}: low, {low:g}, is not below high, {high:g}.")
    return _range(name, low, high, said, whole=float not in types)


def _range(name: str, low: float, high: float, said: Mapping[str, Any], *, whole: bool) -> Range:
    step, log = said.get("step"), said.get("log")
    if step is not None:
        if isinstance(step, bool) or not isinstance(step, int if whole else int | float):
            raise ValueError(
                f"{name}.step: {shown(step)} is not {'an int' if whole else 'a number'}."
            )
        if not 0 < step <= high - low:
            raise ValueError(f"{name}.step: {step:g} is not above 0 and at most high - low.")
    if not isinstance(log, bool | None):
        raise ValueError(f"{name}.log: {shown(log)} is not true or false.")
    if log and step is not None:
        raise ValueError(f"{name}: a range on a log scale has no step.")
    if log and low <= 0:
        raise ValueError(f"{name}: a log scale begins above 0, not at {low:g}.")
    if whole and step is not None:
        high -= (high - low) % step  # the last one
    log = step is None and _is_log(low, high) if log is None else log
    return Range(low, high, log, step, whole)


def _distinct(name: str, values: Sequence[Any]) -> Sequence[Any]:
    """Return values; raise ValueError if there are none, or one is there twice."""
    if not values:
        raise ValueError(f"{name}: the list is empty.")
    for place, value in enumerate(values):
        if value in values[:place]:  # also 1 and 1.0, which a study does not tell apart
            raise ValueError(f"{name}: {shown(value)} is there twice.")
    return values
