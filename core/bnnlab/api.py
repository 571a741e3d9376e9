"""The Python API: `create` for single components, `run` for a whole run."""

from collections.abc import Mapping
from operator import index
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any

from bnnlab.engine import building
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.result import Result
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import expect, shown
from bnnlab.registry.recipes import find_recipe
from bnnlab.settings.config import choose, read_config, resolve
from bnnlab.settings.text import assignment, joined

Choosable = str | Mapping[str, Any] | None


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

    The tasks of a stream are looked at as before a run, and the log warns of what looks wrong.

    Args:
        kind: `model`, `rule`, `optimizer` or `stream`.
        name: The component's name, or `distribution/name`.
        model: For a rule or an optimizer: the model it works on.
        seed: Root of the component's randomness.
        data: For a stream: the data folder; the default is that of `bnn run`.
        device: For a stream: where the images lie.
        host: The plugins to choose from; all installed ones by default.
        given: The component's options; a model also takes `input_shape` and `classes`.

    Raises:
        UsageError: If a name, an option or the model is wrong or missing, or a stream's tasks are
            not what they must be.

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
    if kind not in list(Kind):
        raise UsageError(f"kind {shown(kind)}: choose from {', '.join(Kind)}")
    host = host or PluginHost()
    if kind == Kind.STREAM:
        choice = choose(host, Kind.STREAM, name, given)
        folder = building.data_folder(None if data is None else str(data))
        stream = building.make_stream(
            host, choice, data=folder, device=building.find_device(device), seed=seed
        )
        building.make_tasks(choice, stream)  # which looks at them, as a run does
        return stream
    if kind == Kind.MODEL:
        try:
            shape, classes = given.pop("input_shape"), given.pop("classes")
        except KeyError as error:
            raise UsageError(f"model {name!r} needs the argument {error.args[0]}") from None
        expect("input_shape", shape, tuple, list)
        shape = tuple(_whole("input_shape", side, least=1) for side in shape)
        classes = _whole("classes", classes, least=1)
        choice = choose(host, Kind.MODEL, name, given)
        return building.make_model(host, choice, input_shape=shape, classes=classes, seed=seed)
    if not isinstance(model, Model):
        raise UsageError(
            f'{kind} {name!r} works on a bnnlab model: create("{kind}", "{name}", model); '
            "bnnlab.binarize(module) makes one of any torch module"
        )
    choice = choose(host, Kind(kind), name, given)
    make = building.make_rule if kind == Kind.RULE else building.make_optimizer
    return make(host, choice, model, seed=seed)


def run(
    config: str | Path | Mapping[str, Any] | None = None,
    *,
    recipe: str | None = None,
    rule: Choosable = None,
    optimizer: Choosable = None,
    model: Choosable = None,
    stream: Choosable = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    uncertainty: bool | None = None,
    fresh: bool | None = None,
    diagnose: bool | None = None,
    precision: str | None = None,
    compile: bool | None = None,
    checkpoint_minutes: float | None = None,
    device: str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    name: str | None = None,
    set: Mapping[str, Any] | None = None,
    host: PluginHost | None = None,
) -> Result:
    """Train on a stream and return what was found, with the trained model.

    The arguments are those of `bnn run`; None is "not said". Nothing is written unless `out` is
    given.

    Args:
        config: A run file, or its content.
        recipe: A recipe's name; `config` and the other arguments come before it.
        rule: A name, or a mapping with `name` and options; so are the next three.
        optimizer: See rule.
        model: See rule.
        stream: See rule.
        epochs: Passes over each task's training data.
        batch_size: Examples per step.
        seed: Root of all randomness.
        uncertainty: Measure calibration and the like also without a posterior.
        fresh: Compare with fresh models that learn each task alone.
        diagnose: Compare the rule's gradient with the exact one, per segment, in every epoch.
        precision: `float32`, or `bfloat16` for the products in training.
        compile: Compile each segment.
        checkpoint_minutes: Between checkpoints within an epoch or an evaluation.
        device: `auto`, `cpu`, `cuda`, ...
        data: The data folder.
        out: Folder to make the run's folder in.
        name: The run folder's name.
        set: More options, `{"optimizer.lr": 0.005}`.
        host: The plugins to choose from; all installed ones by default.

    Raises:
        UsageError: If something cannot start as given.
        RunError: If the run fails.
    """
    expect("config", config, str, PathLike, Mapping, NoneType)
    expect("recipe", recipe, str, NoneType)
    expect("set", set, Mapping, NoneType)
    expect("host", host, PluginHost, NoneType)
    host = host or PluginHost()
    said = {
        "rule": rule,
        "optimizer": optimizer,
        "model": model,
        "stream": stream,
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "uncertainty": uncertainty,
        "fresh": fresh,
        "diagnose": diagnose,
        "precision": precision,
        "compile": compile,
        "checkpoint_minutes": checkpoint_minutes,
        "device": device,
        "data": data,
        "name": name,
    }
    layers: list[Mapping[str, Any]] = []
    if recipe is not None:
        layers.append(find_recipe(host, recipe).settings)
    if config is not None:
        layers.append(config if isinstance(config, Mapping) else read_config(Path(config)))
    layers.append({key: value for key, value in said.items() if value is not None} | {"out": out})
    layers.append(joined(assignment(key, value) for key, value in (set or {}).items()))
    return Experiment(host, resolve(host, layers)).run()


def _whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of any library's type."""
    try:
        number = index(value)
    except TypeError:
        raise UsageError(f"{name}: {shown(value)} is not a whole number.") from None
    if not least <= number < 2**63:
        raise UsageError(f"{name}: {shown(number)} is not from {least} to 2**63 - 1.")
    return number
