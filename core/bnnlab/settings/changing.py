"""What a run would be made of after a change of one setting, with all others as they were said."""

from collections.abc import Iterator, Mapping
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import as_table
from bnnlab.settings.layers import resolve_components
from bnnlab.settings.merging import Layer, Settings
from bnnlab.settings.run import Choice, RunConfig
from bnnlab.settings.text import joined, parse_assignment, written


def changed(
    host: PluginHost, config: RunConfig, change: str
) -> Iterator[tuple[tuple[str, ...], dict[Kind, Choice]]]:
    """Yield what is left out of what was said last, and the components that a run then has.

    What is not accepted is not yielded. First nothing is left out. Where the change names another
    component, then each option that was said of the earlier one, then all of them.

    Args:
        host: The plugins.
        config: With the places that it was made of.
        change: As it is written after `--set`; `optimizer=adam` names a component.
    """
    *weaker, last = config.places or ({},)
    said: Settings = joined([last.settings if isinstance(last, Layer) else last])
    path, assigned = change.partition("=")[0].split("."), parse_assignment(change)
    own = {key: it for key, it in _at(said, path).items() if key != "name"}
    for without in ((), *((name,) for name in own), *([tuple(own)] if len(own) > 1 else [])):
        layer = joined([_without(said, path, without), assigned])
        try:
            found = resolve_components(host, [*weaker, layer], PARTS)
        except UsageError:
            continue
        left = [text for name in without for text in _written(".".join([*path, name]), own[name])]
        yield tuple(left), {kind: _kept(config.choices[kind], its) for kind, its in found.items()}


def _at(said: Settings, path: list[str]) -> Settings:
    """Return what is said of the component at a place such as `optimizer.base`."""
    table: Settings = said
    for name in path:
        table = as_table(table.get(name)) or {}
    return table


def _without(said: Settings, path: list[str], names: tuple[str, ...]) -> dict[str, Any]:
    """Return settings without what a change replaces at a place, and without these options."""
    first, *rest = path
    before = said.get(first)
    if rest:
        inner: Any = _without(as_table(before) or {}, rest, names)
    else:
        table = before if isinstance(before, Mapping) else {}
        inner = {key: it for key, it in table.items() if key not in ("name", *names)}
    return {**said, first: inner} if inner else {k: v for k, v in said.items() if k != first}


def _written(place: str, value: Any) -> Iterator[str]:
    """Yield what was said at a place, as it is written after `--set`."""
    if not isinstance(value, Mapping):
        yield f"{place}={written(value)}"
        return
    for key, it in value.items():
        yield from _written(place if key == "name" else f"{place}.{key}", it)


def _kept(mine: Choice, other: Choice) -> Choice:
    """Return a component with what its data were found to require, if it is the same one."""
    return Choice(mine.plugin, mine.component, other.options) if mine.name == other.name else other
