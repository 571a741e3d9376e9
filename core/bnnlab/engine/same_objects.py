"""The objects of a run that goes on: they must be those that it began with."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnnlab.engine.objects import Named, offered
from bnnlab.errors import UsageError
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.given import OBJECT
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import as_table
from bnnlab.settings.run import ANALYSIS
from bnnlab.storage.checkpoint import CHECKPOINT

log = logging.getLogger(__name__)

_OTHERS: Mapping[Kind, str] = {
    Kind.MODEL: "its architecture is another",
    Kind.STREAM: "its data, their split or its tasks are others",
}
Key = tuple[str, str]
"""A kind and, of a probe, its name."""


def offered_again(
    host: PluginHost, given: Sequence[Named], folder: Path, settings: Mapping[str, Any]
) -> list[Plugin]:
    """Do `offered` for the objects of a run that goes on, if they are those that it began with.

    A model may have other initial weights, if a checkpoint has those in use.

    Args:
        host: As there.
        given: The objects.
        folder: Of the run.
        settings: Its run.toml.

    Raises:
        UsageError: With all that differs.
    """
    before, plugins, faults = _objects_in(settings), list[Plugin](), list[str]()
    for each in given:
        its = before.pop(_key(each.kind, each.name), None)
        plugin = offered(host, each)
        mine = {option.name: option.default for option in plugin.components[0].options}
        if its is None:
            faults.append(f"{each.kind}: an object is given, and it had none")
        elif fault := _fault(each.kind, mine, its):
            faults.append(f"{each.kind}: {fault}")
        elif mine.get("weights") != its.get("weights"):
            if not (folder / CHECKPOINT).exists() or _makes_fresh_models(settings):
                faults.append(f"{each.kind}: its initial weights are others")
            log.warning("the weights are those of the checkpoint, not those of the model given")
            plugin = offered(host, each, weights=its["weights"])
        plugins.append(plugin)
    faults += [f"{kind}: it had an object of {its['object']}" for (kind, _), its in before.items()]
    if faults:
        raise UsageError(
            f"{folder} needs the objects that it began with, and no others. {'; '.join(faults)}."
        )
    return plugins


def _fault(kind: Kind, mine: Mapping[str, Any], its: Mapping[str, Any]) -> str:
    if mine["object"] != its.get("object"):
        return f"it is of {mine['object']}, and was of {its.get('object')}"
    if mine["digest"] != its.get("digest") or mine.keys() != {*its} - {"name"}:
        return _OTHERS.get(kind, "its attributes or its code are others")
    return ""


def _key(kind: str, name: str) -> Key:
    return str(kind), name if kind == Kind.PROBE else ""


def _objects_in(settings: Mapping[str, Any]) -> dict[Key, Mapping[str, Any]]:
    """Return what a run.toml says of objects."""
    tables = [(str(kind), as_table(settings.get(kind)) or {}) for kind in PARTS]
    for name, options in settings.get(Kind.PROBE, {}).items():
        tables.append((str(Kind.PROBE), {**options, "name": name}))
    return {
        _key(Kind(kind), str(table["name"])): table
        for kind, table in tables
        if str(table.get("name", "")).startswith(f"{OBJECT}/")
    }


def _makes_fresh_models(settings: Mapping[str, Any]) -> bool:
    return settings.get("fresh") is True or f"{ANALYSIS}/fresh" in settings.get(Kind.PROBE, {})
