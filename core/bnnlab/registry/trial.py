"""Import the plugins in another process, which may die of it, and say which cannot be imported."""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from bnnlab.errors import BnnlabError, RunError, UsageError
from bnnlab.guards import ambient
from bnnlab.registry.discovery import Plugin, PluginStatus
from bnnlab.registry.host import PluginHost

LIMIT = 30.0
"""Seconds that the import of one plugin may take. It imports no torch, so it takes milliseconds."""
_MARK = "\x1e"
"""Begins each line that is ours: a record separator, then JSON."""
_HELD_UP = "Timeout ("
"""How the lines of `faulthandler` begin."""


@dataclass(frozen=True)
class Trial:
    """Why plugins cannot be imported, by their distributions.

    Attributes:
        fatal: Those whose import ends the process, or does not end.
        broken: The others.
    """

    fatal: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def tried(only: Collection[str] = (), limit: float = LIMIT) -> Trial:
    """Import all plugins that are not disabled, or `only` those of some distributions.

    Nothing is imported in this process. After each plugin that is fatal, another process goes on
    without it.

    Args:
        only: Names of distributions; empty for all.
        limit: Seconds for each plugin.

    Raises:
        UsageError: If a `PluginHost` would be refused.
        RunError: If the process ends, and no plugin is the cause.
    """
    found = Trial()
    while True:
        last, why = _process(found, only, limit)
        if not why:
            return found
        if not last or last in found.fatal:
            raise RunError(f"the process that imports the plugins cannot go on: {why}.")
        found.fatal[last] = why


def _process(found: Trial, only: Collection[str], limit: float) -> tuple[str, str]:
    """Import the plugins but the fatal ones; return the last one, and why it is fatal, if it is."""
    disabled = [os.environ.get("BNNLAB_DISABLE", ""), *found.fatal]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "BNNLAB_DISABLE": ",".join(disabled),
        **({"BNNLAB_ONLY": ",".join(only)} if only else {}),
    }
    command = [sys.executable, "-P", "-m", __name__, str(limit)]
    with tempfile.TemporaryFile() as file:  # a pipe would wait for what a plugin starts, too
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.DEVNULL, env=environment, check=False
        )
        file.seek(0)
        lines = file.read().decode(errors="replace").split("\n")
    told: dict[str, Any] = {}
    for line in lines:
        if line.startswith(_MARK):
            told |= json.loads(line.removeprefix(_MARK))
            found.broken.update(told.pop("broken", {}))
    if "refused" in told:
        raise UsageError(told["refused"])
    if "done" in told:
        return "", ""
    if any(line.startswith(_HELD_UP) for line in lines):
        why = f"its import did not end within {limit:g} seconds"
    else:
        why = f"its import ends the process, with {_ending(done.returncode)}"
    return told.get("begins", ""), why


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


class _Telling(PluginHost):
    """Tells on standard output which plugin it imports."""

    def _load(self, plugin: Plugin, keeper: ambient.Keeper) -> Plugin:
        _tell(begins=plugin.distribution)
        faulthandler.dump_traceback_later(float(sys.argv[1]), exit=True, file=1)
        loaded = super()._load(plugin, keeper)
        faulthandler.cancel_dump_traceback_later()
        if loaded.status is PluginStatus.BROKEN:
            _tell(broken={plugin.distribution: loaded.error})
        return loaded


def _tell(**what: Any) -> None:
    assert sys.__stdout__
    sys.__stdout__.write(f"\n{_MARK}{json.dumps(what)}\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    try:
        _Telling(with_broken=True)
    except BnnlabError as error:
        _tell(refused=str(error))
    _tell(done=True)
    os._exit(0)  # what a plugin has begun beside it may not end
