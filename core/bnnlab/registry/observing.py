"""Observers: they watch a run. What they do to it by mistake is undone, and none can end it."""

import logging
from copy import deepcopy
from typing import Any

import pluggy

from bnnlab.errors import StoppedError, explain
from bnnlab.guards import ambient

log = logging.getLogger(__name__)


class Observers:
    """Whoever watches one run: plugins, and what was handed to `PluginHost.observe`.

    Each is handed copies of its own, so that what it does to them reaches neither the run nor the
    next observer. What they change for the whole process is put back as far as `ambient` knows it;
    what it says of it comes once in a run. One that raises is off for the rest of this run, and is
    asked again in the next.

    Args:
        manager: Knows the implementations of the hooks.
    """

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager
        self._off, self._said = set[str](), set[str]()

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call an observing hook's implementations, each with the arguments that it names."""
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin_name in self._off:
                continue
            own = deepcopy({name: arguments[name] for name in implementation.argnames})
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
