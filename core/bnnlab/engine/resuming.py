"""A run goes on in Python, with its objects: they must be those that it began with."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from bnnlab.engine.experiment import Experiment
from bnnlab.engine.objects import Named, name_objects, offered
from bnnlab.engine.preparing import prepare
from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.given import objects_in
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import Layer, Settings, resolve
from bnnlab.settings.run import ANALYSIS
from bnnlab.settings.text import read_config
from bnnlab.storage.checkpoint import CHECKPOINT
from bnnlab.storage.folder import RunFolder, config_of

log = logging.getLogger(__name__)

_OTHERS: Mapping[Kind, str] = {
    Kind.MODEL: "its architecture is another",
    Kind.STREAM: "its data, their split or its tasks are others",
}


def resumed(
    host: PluginHost, folder: Path, said: Settings, *, allow_changed_versions: bool
) -> Experiment:
    """Return the run in a folder, ready to go on; what is said are its objects, and trackers.

    Raises:
        UsageError: If something else is said, the objects are others, or the run cannot go on.
    """
    file = config_of(folder)
    settings = Layer(read_config(file), str(file))
    named, objects = name_objects(host, said)
    known = {Kind.TRACKER, *(each.place.partition(".")[0] for each in objects)}
    if others := [key for key in named if key not in known]:
        raise UsageError(
            "resume takes all settings from the folder, beside them only track and the objects "
            f"that the run began with: leave out {', '.join(others)}."
        )
    host = with_same_objects(host, objects, folder, settings.settings)
    config = resolve(host, [settings, named])
    before, now = resolve(host, [settings]).as_dict(), config.as_dict()
    if others := [key for key in named if key != Kind.TRACKER and now[key] != before.get(key)]:
        what = ", ".join(others)
        raise UsageError(f"{folder} was begun with another {what}: give what was given then.")
    run = RunFolder(folder)
    return prepare(host, config, run, allow_changed_versions=allow_changed_versions)


def with_same_objects(
    host: PluginHost, given: Iterable[Named], folder: Path, settings: Settings
) -> PluginHost:
    """Return a host that offers the objects of a run that goes on, which it began with.

    What they were is in `settings`, the run.toml in its folder, or a part of it. A model may have
    other initial weights, if a checkpoint has those in use.

    Raises:
        UsageError: With all that differs.
    """
    before, plugins, faults = dict(objects_in(settings)), list[Plugin](), list[str]()
    probes = settings.get(Kind.PROBE, {})
    makes_fresh = settings.get("fresh") is True or f"{ANALYSIS}/fresh" in probes
    needs_weights = makes_fresh or not (folder / CHECKPOINT).exists()
    for each in given:
        plugin, its = offered(host, each), before.pop(each.place, {})
        mine = {option.name: option.default for option in plugin.components[0].options}
        if fault := _fault(each.kind, mine, its, needs_weights):
            faults.append(f"{each.place}: {fault}")
        elif mine.get("weights") != its.get("weights"):
            log.warning("the weights are those of the checkpoint, not those of the model given")
            plugin = offered(host, each, weights=its["weights"])
        plugins.append(plugin)
    faults += [f"{place}: it had an object of {its['object']}" for place, its in before.items()]
    if faults:
        raise UsageError(
            f"{folder} needs the objects that it began with, and no others. {'; '.join(faults)}."
        )
    return host.offering(plugins)


def _fault(kind: Kind, mine: Settings, its: Settings, needs_weights: bool) -> str:
    """Return how an object is another than run.toml says; empty if it is the same."""
    if not its:
        return "an object is given, and it had none"
    if mine["object"] != its.get("object"):
        return f"it is of {mine['object']}, and was of {its.get('object')}"
    if mine["digest"] != its.get("digest") or mine.keys() != its.keys() - {"name"}:
        return _OTHERS.get(kind, "its attributes or its code are others")
    is_other = needs_weights and mine.get("weights") != its.get("weights")
    return "its initial weights are others" if is_other else ""
