"""Objects in the place of components: a run is given a module, a rule, a stream."""

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from typing import Any

import torch
from torch import nn

from bnnlab.conversion.segments import cut
from bnnlab.conversion.streams import TensorStream
from bnnlab.engine.abilities import abilities
from bnnlab.engine.fingerprints import fingerprint, path_of
from bnnlab.errors import UsageError, explain
from bnnlab.guards.probing import check_fits
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Probe
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.stream import TaskStream, protocol_hash
from bnnlab.registry.components import MANY, PARTS, Kind
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.given import OBJECT, offer
from bnnlab.registry.host import PluginHost

log = logging.getLogger(__name__)

_INSTANCES: Mapping[Kind, type] = {
    Kind.MODEL: nn.Module,
    Kind.RULE: LearningRule,
    Kind.STREAM: TaskStream,
    Kind.PROBE: Probe,
}
_WANTED: Mapping[Kind, str] = {
    Kind.MODEL: "a torch module, or a class or function that makes one",
    Kind.RULE: "a bnnlab.LearningRule, or a class or function that makes one",
    Kind.OPTIMIZER: "a class or function that makes a bnnlab.Optimizer of (model, generator=); "
    "those of torch know no binary weights",
    Kind.STREAM: "a bnnlab.TaskStream, such as bnnlab.stream_from(train, test=...) returns",
    Kind.PROBE: "a bnnlab.Probe, or a class or function that makes one",
    Kind.TRACKER: "a list of these",
}


@dataclass(frozen=True)
class Named:
    """An object that a run is given.

    Attributes:
        place: What it is the value of, as `rule`, `rule.base` or `probe.object/NAME`.
        kind: Of the component that it stands for.
        name: `object/NAME`, in settings.
        value: The object.
    """

    place: str
    kind: Kind
    name: str
    value: Any


def name_objects(host: PluginHost, said: Mapping[str, Any]) -> tuple[dict[str, Any], list[Named]]:
    """Return what a run is told, with names in the place of objects; and the objects.

    They may be what a component is made of, too: `rule={"name": "replay", "base": my_rule}`.
    """
    settings, found = dict(said), list[Named]()

    def named(kind: Kind, place: str, value: Any) -> Any:
        if isinstance(value, str):
            return value
        if isinstance(value, Mapping):
            parts = _parts(host, kind, str(value.get("name", "")))
            return {
                key: named(parts[key], f"{place}.{key}", it) if key in parts else it
                for key, it in value.items()
            }
        last = path_of(value).rpartition(".")[2].lower()
        short = f"{OBJECT}/{re.sub(r'[^a-z0-9]+', '-', last).strip('-') or kind}"
        taken = {each.name for each in found if each.kind is kind}
        names = chain([short], (f"{short}-{number}" for number in count(2)))
        name = next(each for each in names if each not in taken)
        found.append(Named(f"{place}.{name}" if kind in MANY else place, kind, name, value))
        return name

    for kind in (*PARTS, *MANY):
        value = said.get(kind)
        if kind in MANY and isinstance(value, Iterable) and not isinstance(value, str | Mapping):
            settings[kind] = [named(kind, kind, each) for each in value]
        elif value is not None:
            settings[kind] = named(kind, kind, value)
    return settings, found


def _parts(host: PluginHost, kind: Kind, name: str) -> dict[str, Kind]:
    """Return the options of a component of a run that are components; of probes, none."""
    if kind in MANY:
        return {}
    try:
        options = host.options(*host.resolve(kind, name.partition(":")[0]))
    except UsageError:  # which `resolve` says with all else that is wrong
        return {}
    return {option.name: Kind(option.part.kind) for option in options if option.part}


def warn_of_weights(objects: Iterable[Named]) -> None:
    """Warn of a model whose weights all repetitions of a run begin with."""
    if any(each.kind is Kind.MODEL and isinstance(each.value, nn.Module) for each in objects):
        log.warning(
            "every seed begins with the weights of the model that was given; of a function, as "
            "model=make_model, each seed draws its own"
        )


def offering(host: PluginHost, objects: Iterable[Named]) -> PluginHost:
    """Return a host that offers objects, too, see `offered`."""
    return host.offering([offered(host, each) for each in objects])


def offered(host: PluginHost, given: Named, **saved: str) -> Plugin:
    """Return what a host offers in a component's place.

    Args:
        host: Whose components declare classes.
        given: The object.
        saved: What run.toml says of it, in place of what is found.

    Raises:
        UsageError: If the object cannot stand for a component of its kind.
    """
    kind, value, who = given.kind, given.value, f"{given.place}: {path_of(given.value)}"
    is_made = isinstance(value, _INSTANCES.get(kind, ()))
    if not is_made and not _can_make(kind, value):
        raise UsageError(f"{who} is neither a name, nor a mapping with one, nor {_WANTED[kind]}.")
    try:
        about = {**_about(kind, value, is_made), **saved}
        able = abilities(host, kind, value, is_made)
    except UsageError:
        raise
    except Exception as error:  # the object's own code
        raise UsageError(f"{who} cannot be used: {explain(error)}") from error
    maker = partial(_make, kind, value, is_made)
    return offer(kind, given.name.partition("/")[2], about, maker, *able)


def _can_make(kind: Kind, value: Any) -> bool:
    """Return whether a value is a class or function that may make a component."""
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer):
        return kind is Kind.OPTIMIZER and issubclass(value, Optimizer)
    return callable(value) and not isinstance(value, nn.Module) and kind is not Kind.TRACKER


def _about(kind: Kind, value: Any, is_made: bool) -> dict[str, str]:
    """Return what identifies an object, as run.toml holds it."""
    about = {"object": path_of(value)}
    if kind is Kind.STREAM and is_made:
        return {**about, "digest": protocol_hash(value.protocol())}
    if kind is Kind.MODEL and is_made:
        check_fits(value)
        state = value.state_dict(), getattr(value, "initial_latents", {})
        digest = fingerprint(value, weights=False)
        return {**about, "digest": digest, "weights": fingerprint(state)}
    return {**about, "digest": fingerprint(value)}


def _make(kind: Kind, value: Any, is_made: bool, *args: Any, **given: Any) -> Any:
    """Return a component for a run: copied, so that what is given, or returned again, stays."""
    made = value if is_made else _call(kind, value, *args, **given)
    if kind is Kind.MODEL:
        if not isinstance(made, nn.Module):
            what = f"returns a {type(made).__name__}, and no module"
            raise UsageError(f"model: {path_of(value)} {what}.")
        return _as_model(made, **given)
    if kind is Kind.STREAM:
        return _placed(made, given["device"])
    return made if kind is Kind.OPTIMIZER else deepcopy(made)


def _call(kind: Kind, value: Callable[..., Any], *args: Any, **given: Any) -> Any:
    """Call a class or function with those keywords that it takes."""
    accepted = dict(given)
    with suppress(TypeError, ValueError):  # what is made in C has no signature
        takes = inspect.signature(value).parameters
        if not any(it.kind is it.VAR_KEYWORD for it in takes.values()):
            accepted = {key: it for key, it in given.items() if key in takes}
    if kind is not Kind.MODEL:
        return value(*args, **accepted)
    with torch.random.fork_rng(devices=[]):  # torch's own layers draw from the global generator
        torch.default_generator.manual_seed(given["generator"].initial_seed())
        return value(*args, **accepted)


def _as_model(
    module: nn.Module, *, input_shape: tuple[int, ...], tokens: int | None = None, **_: Any
) -> Model:
    """Return a copy of a module as a model, on the CPU."""
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise UsageError(
                f"model: {name!r} is {parameter.dtype}, and inputs are float32: give module.float()"
            )
    copied = deepcopy(module).cpu()
    if not isinstance(copied, Model):
        return Model(cut(copied, input_shape, tokens), input_shape, tokens)
    copied.input_shape = copied.input_shape or input_shape
    copied.tokens = tokens
    return copied


def _placed(stream: Any, device: torch.device) -> Any:
    """Return a stream with its data on a device; what is none, as it is."""
    if isinstance(stream, TensorStream):
        return stream.to(device)
    tasks = stream if isinstance(stream, TaskStream) else ()
    here = next((task.train.rows.device for task in tasks), device)
    if here.type != device.type:
        raise UsageError(
            f"stream: its data are on {here}, and the run computes on {device}: make it with this "
            f"device, or run with device={here.type!r}."
        )
    return stream
