"""A run goes on in Python, with its objects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnnlab.engine.experiment import Experiment
from bnnlab.engine.objects import is_of_objects, name_objects
from bnnlab.engine.preparing import prepare
from bnnlab.engine.same_objects import offered_again
from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import Layer, resolve
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RunFolder, config_of


def resumed(
    host: PluginHost, folder: Path, said: Mapping[str, Any], *, allow_changed_versions: bool
) -> Experiment:
    """Return the run in a folder, ready to go on.

    Args:
        host: The plugins.
        folder: Of the run.
        said: Its objects, and trackers.
        allow_changed_versions: As in `prepare`.

    Raises:
        UsageError: If something else is said, the objects are others, or the run cannot go on.
    """
    file = config_of(folder)
    settings = read_config(file)
    named, objects = name_objects(said)
    trackers = {key: named.pop(key) for key in [*named] if key == Kind.TRACKER}
    if others := [key for key in named if not is_of_objects(named[key])]:
        raise UsageError(
            "resume takes all settings from the folder, beside them only track and the objects "
            f"that the run began with: leave out {', '.join(others)}."
        )
    host = host.offering(offered_again(host, objects, folder, settings))
    config = resolve(host, [Layer(settings, str(file)), trackers])
    run = RunFolder(folder)
    return prepare(host, config, run, allow_changed_versions=allow_changed_versions)
