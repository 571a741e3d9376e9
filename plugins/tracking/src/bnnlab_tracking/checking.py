"""Trackers that cannot work are refused before a run begins, in its process. Imports no torch."""

import os
from collections.abc import Iterable

from bnnlab.errors import BnnlabError, UsageError, explain
from bnnlab.guards import ambient
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import Choice
from bnnlab_tracking.tracker import Tracker


def check(host: PluginHost, trackers: Iterable[Choice]) -> None:
    """Ask each tracker whether it can work.

    Raises:
        UsageError: If one cannot, cannot be imported, or is none; or if this system has no process
            groups, by which a tracker is ended.
    """
    if not hasattr(os, "killpg"):
        raise UsageError(
            "track: trackers need process groups, which Linux and macOS have and this system has "
            "not. Run without track."
        )
    for choice in trackers:
        made = host.load(choice.plugin, choice.component)
        if not (isinstance(made, type) and issubclass(made, Tracker)):
            raise UsageError(f"{choice} is no {Tracker.__module__}.{Tracker.__name__}")
        try:
            with ambient.kept(f"{choice.name}, while it was checked,"):
                made.check(choice.keywords)
        except BnnlabError:
            raise
        except Exception as error:
            raise UsageError(f"{choice.name} cannot be checked: {explain(error)}") from error
