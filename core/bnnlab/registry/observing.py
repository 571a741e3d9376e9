"""Call the observers of a run, which cannot change or end it; ask plugins what a model is."""

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from copy import deepcopy
from typing import Any

import pluggy

from bnnlab.errors import StoppedError, explain
from bnnlab.guards import ambient
from bnnlab.registry.components import Section
from bnnlab.registry.options import shown

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
            try:
                _answer(implementation, {**arguments, "run_id": self._run_id}, self._said)
            except (KeyboardInterrupt, StoppedError):
                raise
            except BaseException as error:  # whatever it is, the run is not the observer's to end
                self._off.add(implementation.plugin_name)
                log.warning(
                    "%s failed in %s and is switched off for this run: %s",
                    *(_name(implementation), hook, explain(error)),
                )


def sections(manager: pluggy.PluginManager, model: Any) -> list[tuple[str, Section]]:
    """Return what plugins say of a model, each with its name. One that fails is warned of."""
    found = []
    for implementation in manager.hook.bnnlab_model_described.get_hookimpls():
        who = _name(implementation)
        try:
            with redirect_stdout(sys.stderr):
                answer = _answer(implementation, {"model": model})
            if answer is not None:
                _expect_section(answer)
                found.append((who, answer))
        except (KeyboardInterrupt, StoppedError):
            raise
        except BaseException as error:  # what others say of the model is shown all the same
            log.warning("%s failed in bnnlab_model_described: %s", who, explain(error))
    return found


def _expect_section(answer: Any) -> None:
    """Refuse what cannot be shown."""
    if not isinstance(answer, Section):
        raise TypeError(f"it must return a Section or None, and returned {shown(answer)}")
    lines = answer.lines
    if isinstance(lines, str) or not all(isinstance(each, str) for each in (answer.title, *lines)):
        raise TypeError("title must be a text, and lines a list of texts")
    if not isinstance(answer.data, Mapping):
        raise TypeError(f"data must be a dict, and is {shown(answer.data)}")
    json.dumps(answer.data, allow_nan=False)


def _answer(
    implementation: pluggy.HookImpl, given: Mapping[str, Any], said: set[str] | None = None
) -> Any:
    """Call an implementation with copies of the arguments that it names."""
    own = deepcopy({name: given[name] for name in implementation.argnames})
    with ambient.kept(f"{_name(implementation)} in {implementation.function.__name__}", said):
        return implementation.function(**own)


def _name(implementation: pluggy.HookImpl) -> str:
    """Return `distribution/entry point` of a plugin, and the class of any other observer."""
    plugin, name = implementation.plugin, implementation.plugin_name
    return type(plugin).__name__ if name == str(id(plugin)) else name
