"""What objects in the place of components provide and require."""

from functools import partial
from typing import Any

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.signs import binary_parameters
from bnnlab.registry.components import CAPABILITIES, Kind
from bnnlab.registry.host import PluginHost

Abilities = tuple[set[str], set[str]]
"""What is provided, and what is required."""


def abilities(host: PluginHost, kind: Kind, value: Any, is_instance: bool) -> Abilities:
    """Return what an object of a kind provides and requires.

    A class that a plugin declares, or that derives from one, has that component's capabilities. Of
    other objects all is known that they show; what they do not show is taken to fit.
    """
    known = _declared(host, kind, value)
    every = {name for name, meaning in CAPABILITIES.items() if meaning.startswith(f"{kind}:")}
    provides, requires = known or (every, set())
    if kind is Kind.RULE and known is None and not getattr(value, "any_loss", True):
        provides -= {"any-loss"}
    if kind is Kind.MODEL and is_instance:
        return _of_model(value, every, requires)
    if kind is Kind.STREAM and is_instance:
        return provides - {"task-ids"} | ({"task-ids"} if value.gives_task_ids else set()), requires
    return provides, requires


def _declared(host: PluginHost, kind: Kind, value: Any) -> Abilities | None:
    said: dict[str, Any] = {}
    while isinstance(value, partial):
        value, said = value.func, {**value.keywords, **said}
    for base in (value if isinstance(value, type) else type(value)).__mro__:
        target = f"{base.__module__}:{base.__qualname__}"
        for _, component in host.components(kind):
            if component.target == target:
                provides, requires = component.capabilities({**component.preset, **said})
                return {*provides}, {*requires}
    return None


def _of_model(model: Any, provides: set[str], requires: set[str]) -> Abilities:
    lacking = {"real-weights" if binary_parameters(model) else "binary-weights"}
    if isinstance(model, Model) and len(model.segments) < 2:
        lacking.add("segments")
    is_told = any(getattr(part, "statistics", None) == "per-task" for part in model.modules())
    return provides - lacking, requires - {"task-ids"} | ({"task-ids"} if is_told else set())
