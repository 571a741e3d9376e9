"""`create`: one component by its name."""

from operator import index
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any

from bnnlab.engine import building
from bnnlab.engine.objects import name_objects, offering
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import expect, shown
from bnnlab.settings.layers import choose


def create(
    kind: str,
    name: str,
    model: Model | None = None,
    /,
    *,
    seed: int = 0,
    data: str | Path | None = None,
    device: str = "cpu",
    host: PluginHost | None = None,
    **given: Any,
) -> Any:
    """Make one component by name, for a training loop of your own.

    The tasks of a stream are checked as before a run; the log has the warnings.

    Args:
        kind: `model`, `rule`, `optimizer` or `stream`.
        name: The component's name, or `distribution/name`.
        model: For a rule or an optimizer: the model it works on.
        seed: Root of the component's randomness.
        data: For a stream: the data folder; the default is that of `bnn run`.
        device: For a stream: where the images lie.
        host: The plugins to choose from; all installed ones by default.
        given: The component's options; a model also takes `input_shape` and `classes`, and `tokens`
            if inputs are token ids.

    Raises:
        UsageError: If a name, an option or the model is wrong or missing, or if a stream fails a
            check.

    Example:
        >>> model = create("model", "mlp", input_shape=(64,), classes=10, hidden=[32])
        >>> rule = create("rule", "bp", model)
    """
    expect("kind", kind, str)
    expect("name", name, str)
    expect("device", device, str)
    expect("data", data, str, PathLike, NoneType)
    expect("host", host, PluginHost, NoneType)
    seed = _whole("seed", seed, least=0)
    if kind not in PARTS:
        raise UsageError(f"kind {shown(kind)}: choose from {', '.join(PARTS)}")
    host = host or PluginHost()
    sizes = _sizes(name, given) if kind == Kind.MODEL else {}
    named, objects = name_objects(host, {kind: {**given, "name": name}})
    host = offering(host, objects)
    choice = choose(host, Kind(kind), name, named[kind])
    if kind == Kind.MODEL:
        return building.make_model(host, choice, **sizes, seed=seed)
    if kind == Kind.STREAM:
        folder = building.data_folder(None if data is None else str(data))
        where = building.find_device(device)
        stream = building.make_stream(host, choice, data=folder, device=where, seed=seed)
        building.make_tasks(choice, stream)  # checks the tasks, as a run does
        return stream
    if not isinstance(model, Model):
        raise UsageError(
            f'{kind} {name!r} works on a bnnlab model: create("{kind}", "{name}", model); '
            "bnnlab.binarize(module) makes one of any torch module"
        )
    make = building.make_rule if kind == Kind.RULE else building.make_optimizer
    return make(host, choice, model, seed=seed)


def _sizes(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Take `input_shape`, `classes` and `tokens`, which are no options, out of the arguments."""
    try:
        shape, classes = given.pop("input_shape"), given.pop("classes")
    except KeyError as error:
        raise UsageError(f"model {name!r} needs the argument {error.args[0]}") from None
    expect("input_shape", shape, tuple, list)
    shape = tuple(_whole("input_shape", side, least=1) for side in shape)
    sizes = {"input_shape": shape, "classes": _whole("classes", classes, least=1)}
    if (tokens := given.pop("tokens", None)) is not None:
        sizes["tokens"] = _whole("tokens", tokens, least=1)
    return sizes


def _whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of any library's type."""
    try:
        number = index(value)
    except TypeError:
        raise UsageError(f"{name}: {shown(value)} is not a whole number.") from None
    if not least <= number < 2**63:
        raise UsageError(f"{name}: {shown(number)} is not from {least} to 2**63 - 1.")
    return number
