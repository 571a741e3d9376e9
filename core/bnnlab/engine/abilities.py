"""What objects in the place of components provide and require."""

from functools import partial
from typing import Any

from torch import nn

from bnnlab.families.around import recalls
from bnnlab.interfaces.model import Model, goes_by_task
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.signs import binary_parameters
from bnnlab.registry.components import CAPABILITIES, Kind
from bnnlab.registry.host import PluginHost

Abilities = tuple[frozenset[str], frozenset[str]]
"""What is provided, and what is required."""


def abilities(host: PluginHost, kind: Kind, value: Any, is_made: bool) -> Abilities:
    """Return what an object of a kind, or a class or function that makes one, can and needs.

    A class that a plugin declares, or that derives from one, has that component's capabilities. Of
    other objects all is known that they show; what they do not show is taken to fit.
    """
    every = frozenset(name for name, who in CAPABILITIES.items() if who.startswith(f"{kind}:"))
    known = _declared(host, kind, value)
    provides, requires = known or (every, frozenset[str]())
    if kind is Kind.RULE:
        plain = known is None and not (isinstance(value, LearningRule) and recalls(value))
        without = {"recalls"} if plain else set()
        for ability in ("any_loss", "class_losses"):
            if not getattr(value, ability, True):
                without.add(ability.replace("_", "-"))
        if getattr(value, "whole_batch", False) is not True:  # a class may have a property
            without.add("whole-batch")
        return provides - without, requires
    told = frozenset({"task-ids"})
    if kind is Kind.STREAM and is_made:
        shown = {"task-ids": value.gives_task_ids, "token-ids": value.tokens is not None}
        return provides - {*shown} | {name for name, is_so in shown.items() if is_so}, requires
    if kind is Kind.MODEL and is_made:
        one = {"segments"} if isinstance(value, Model) and len(value.segments) < 2 else set()
        is_told = any(map(goes_by_task, value.modules()))
        return provides - lacking(value) - one, requires | told if is_told else requires - told
    return provides, requires


def lacking(model: nn.Module) -> set[str]:
    """Return which weights a model does not have, as capabilities."""
    return {"real-weights" if binary_parameters(model) else "binary-weights"}


def _declared(host: PluginHost, kind: Kind, value: Any) -> Abilities | None:
    """Return what the component provides and requires whose class a value has or derives from."""
    said: dict[str, Any] = {}
    while isinstance(value, partial):
        value, said = value.func, {**value.keywords, **said}
    for base in (value if isinstance(value, type) else type(value)).__mro__:
        for _, component in host.components(kind):
            if component.target == f"{base.__module__}:{base.__qualname__}":
                parts = (option.part for option in component.options if option.part)
                passed = {name for part in parts for name in part.passes}
                return component.capabilities({**component.preset, **said}, passed)
    return None
