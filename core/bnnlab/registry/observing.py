"""Call the observers of a run. An observer cannot change the run or end it."""

import logging
from copy import deepcopy
from typing import Any

import pluggy

from bnnlab.errors import StoppedError, explain
from bnnlab.guards import ambient

log = logging.getLogger(__name__)


class Observers:
    """The observers of one run: plugins, and objects that `PluginHost.observe` registered.

    Each observer gets copies, so it cannot change the run or what the next observer gets. Changes
    of the process state that `ambient` knows are put back, with one warning per run. An observer
    that raises is off for the rest of this run.

    Args:
        manager: The plugin manager with the hook implementations.
        run_id: Of the run; every hook gets it.
    """

    def __init__(self, manager: pluggy.PluginManager, run_id: str) -> None:
        self._manager, self._run_id = manager, run_id
        self._off, self._said = set[str](), set[str]()

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call an observing hook's implementations, each with the arguments that it names."""
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin_name in self._off:
                continue
            given = {**arguments, "run_id": self._run_id}
            own = deepcopy({name: given[name] for name in implementation.argnames})
            who = _name(implementation)
            try:
                with ambient.kept(f"{who} in {hook}", self._said):
                    implementation.function(**own)
            except (KeyboardInterrupt, StoppedError):
                raise
            except BaseException as error:  # whatever it is, the run is not the observer's to end
                self._off.add(implementation.plugin_name)
                reason = explain(error)
                log.warning(
                    "%s failed in %s and is switched off for this run: %s", who, hook, reason
                )


def _name(implementation: pluggy.HookImpl) -> str:
    """Return `distribution/entry point` of a plugin, and the class of any other observer."""
    plugin, name = implementation.plugin, implementation.plugin_name
    return type(plugin).__name__ if name == str(id(plugin)) else name
