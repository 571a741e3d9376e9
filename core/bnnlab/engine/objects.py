"""Objects in the place of components: a run is given a module, a rule, a stream."""

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
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
        kind: Of the component that it stands for.
        name: `object/NAME`, in settings.
        value: The object.
    """

    kind: Kind
    name: str
    value: Any


def name_objects(said: Mapping[str, Any]) -> tuple[dict[str, Any], list[Named]]:
    """Return what a run is told, with names in the place of objects; and the objects."""
    settings, found = dict(said), list[Named]()

    def named(kind: Kind, value: Any) -> Any:
        if value is None or isinstance(value, str | Mapping):
            return value
        last = path_of(value).rpartition(".")[2].lower()
        short = re.sub(r"[^a-z0-9]+", "-", last).strip("-") or str(kind)
        alike = sum(it.kind is kind and it.name.startswith(f"{OBJECT}/{short}") for it in found)
        found.append(Named(kind, f"{OBJECT}/{short}{f'-{alike + 1}' if alike else ''}", value))
        return found[-1].name

    for kind in (*PARTS, *MANY):
        value = said.get(kind)
        if kind in MANY and isinstance(value, Iterable) and not isinstance(value, str | Mapping):
            settings[kind] = [named(kind, each) for each in value]
        elif value is not None:
            settings[kind] = named(kind, value)
    return settings, found


def warn_of_weights(objects: Iterable[Named]) -> None:
    """Warn of a model whose weights all repetitions of a run begin with."""
    if any(each.kind is Kind.MODEL and isinstance(each.value, nn.Module) for each in objects):
        log.warning(
            "every seed begins with the weights of the model that was given; of a function, as "
            "model=make_model, each seed draws its own"
        )


def is_of_objects(setting: Any) -> bool:
    """Return whether a setting, as `name_objects` returns it, names objects alone."""
    names = setting if isinstance(setting, list) else [setting]
    return all(isinstance(name, str) and name.startswith(f"{OBJECT}/") for name in names)


def offered(host: PluginHost, given: Named, **saved: str) -> Plugin:
    """Return what a host offers in a component's place.

    Args:
        host: Whose components declare classes.
        given: The object.
        saved: What run.toml says of it, in place of what is found.

    Raises:
        UsageError: If the object cannot stand for a component of its kind.
    """
    kind, value = given.kind, given.value
    is_instance = isinstance(value, _INSTANCES.get(kind, ()))
    if not is_instance and not _is_called(kind, value):
        raise UsageError(
            f"{kind}: {path_of(value)} is neither a name, nor a mapping with one, nor "
            f"{_WANTED[kind]}."
        )
    try:
        about = {**_about(kind, value, is_instance), **saved}
        provides, requires = abilities(host, kind, value, is_instance)
    except UsageError:
        raise
    except Exception as error:  # the object's own code
        raise UsageError(f"{kind}: {path_of(value)} cannot be used: {explain(error)}") from error
    maker = _maker(kind, value) if is_instance else partial(_call, kind, value)
    return offer(kind, given.name.partition("/")[2], about, maker, provides, requires)


def _is_called(kind: Kind, value: Any) -> bool:
    """Return whether a value is a class or function that may make a component."""
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer):
        return kind is Kind.OPTIMIZER and issubclass(value, Optimizer)
    is_function = callable(value) and not isinstance(value, nn.Module)
    return kind is not Kind.TRACKER and (isinstance(value, type) or is_function)


def _about(kind: Kind, value: Any, is_instance: bool) -> dict[str, str]:
    """Return what identifies an object, as run.toml holds it."""
    about = {"object": path_of(value)}
    if kind is Kind.STREAM and is_instance:
        return {**about, "digest": protocol_hash(value.protocol())}
    if kind is Kind.MODEL and is_instance:
        check_fits(value)
        state = value.state_dict(), getattr(value, "initial_latents", {})
        digest = fingerprint(value, weights=False)
        return {**about, "digest": digest, "weights": fingerprint(state)}
    return {**about, "digest": fingerprint(value)}


def _maker(kind: Kind, value: Any) -> Callable[..., Any]:
    """Return what makes a component of an instance, which stays as it is."""
    if kind is Kind.STREAM:
        return partial(_place, value)
    if kind is Kind.MODEL:
        return partial(_as_model, value)
    return lambda: deepcopy(value)


def _call(kind: Kind, value: Callable[..., Any], *args: Any, **given: Any) -> Any:
    """Call a class or function with the keywords that it takes; copy what it may return again."""
    accepted = {key: it for key, it in given.items() if key in _keywords(value, given)}
    if kind is not Kind.MODEL:
        made = value(*args, **accepted)
        if isinstance(made, TaskStream):
            return _place(made, **given)
        return deepcopy(made) if kind in (Kind.RULE, Kind.PROBE) else made
    with torch.random.fork_rng(devices=[]):  # torch's own layers draw from the global generator
        torch.default_generator.manual_seed(given["generator"].initial_seed())
        made = value(*args, **accepted)
    if not isinstance(made, nn.Module):
        raise UsageError(f"model: {path_of(value)} returns a {type(made).__name__}, and no module.")
    return _as_model(made, **given)


def _keywords(value: Callable[..., Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        parameters = inspect.signature(value).parameters
    except (TypeError, ValueError):  # it is made in C
        return given
    is_open = any(it.kind is it.VAR_KEYWORD for it in parameters.values())
    return given if is_open else parameters


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


def _place(stream: TaskStream, *, device: torch.device, **_: Any) -> TaskStream:
    """Return a stream with its data on a device."""
    if isinstance(stream, TensorStream):
        return stream.to(device)
    here = next(iter(stream)).train.rows.device
    if here.type != device.type:
        raise UsageError(
            f"stream: its data are on {here}, and the run computes on {device}: make it with this "
            f"device, or run with device={here.type!r}."
        )
    return stream
