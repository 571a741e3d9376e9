"""The Python API: `create` for single components, `run` for a whole run."""

import typing
from collections.abc import Callable, Mapping, Sequence
from operator import index
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypedDict, Unpack

from torch import nn

from bnnlab.deprecation import warn_of_name
from bnnlab.engine import building
from bnnlab.engine.notebook import train
from bnnlab.engine.objects import name_objects, offering, warn_of_weights
from bnnlab.engine.preparing import prepare
from bnnlab.engine.result import Result
from bnnlab.engine.resuming import resumed
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.probe import Probe
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.stream import TaskStream
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import expect, shown
from bnnlab.registry.recipes import find_recipe
from bnnlab.settings.layers import Layer, choose, resolve
from bnnlab.settings.run import RUN_OPTIONS, STUDIES, EvaluateOn
from bnnlab.settings.text import assignment, joined, read_config

Config = str | Path | Mapping[str, Any] | None
Choosable = str | Mapping[str, Any] | None
Makes = Callable[..., Any]
"""A class or function, which is called as a component's class is."""
Several = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None
Probes = Several | Probe | Makes | Sequence[str | Mapping[str, Any] | Probe | Makes]


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


class _Said(TypedDict, total=False):
    """What a run and its repetitions are told alike, for type checkers and editors."""

    recipe: str | None
    rule: Choosable | LearningRule | Makes
    optimizer: Choosable | Makes
    model: Choosable | nn.Module | Makes
    stream: Choosable | TaskStream | Makes
    probe: Probes
    probes: Probes
    track: Several
    epochs: int | None
    batch_size: int | None
    seed: int | None
    evaluate_on: EvaluateOn | None
    device: str | None
    threads: int | None
    uncertainty: bool | None
    fresh: bool | None
    diagnose: bool | None
    precision: Literal["float32", "bfloat16"] | None
    compile: bool | None
    checkpoint_minutes: float | None
    data: str | Path | None
    out: str | Path | None
    name: str | None
    set: Mapping[str, Any] | None
    host: PluginHost | None
    resume: str | Path | None
    allow_changed_versions: bool | None


@typing.overload  # jedi takes `@overload` alone for the signature, and would complete no setting
def run(config: Config = None, *, seeds: None = None, **said: Unpack[_Said]) -> Result: ...
@typing.overload
def run(config: Config = None, *, seeds: int | Sequence[int], **said: Unpack[_Said]) -> Any: ...
def run(  # noqa: D417  # `_document` adds the settings
    config: Config = None,
    *,
    recipe: str | None = None,
    rule: Choosable | LearningRule | Makes = None,
    optimizer: Choosable | Makes = None,
    model: Choosable | nn.Module | Makes = None,
    stream: Choosable | TaskStream | Makes = None,
    probe: Probes = None,
    probes: Probes = None,
    track: Several = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    seeds: int | Sequence[int] | None = None,
    evaluate_on: EvaluateOn | None = None,
    device: str | None = None,
    threads: int | None = None,
    uncertainty: bool | None = None,
    fresh: bool | None = None,
    diagnose: bool | None = None,
    precision: Literal["float32", "bfloat16"] | None = None,
    compile: bool | None = None,
    checkpoint_minutes: float | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    name: str | None = None,
    set: Mapping[str, Any] | None = None,
    host: PluginHost | None = None,
    resume: str | Path | None = None,
    allow_changed_versions: bool | None = None,
) -> Result | Any:
    """Train on a stream of tasks; return the measurements and the trained model.

    An argument that is None leaves its setting to `config`, then to `recipe`, then to the defaults
    (`bnn run --help` shows them). But no files are written unless `out` or `set` names a folder.
    A notebook shows the progress; a script prints nothing.

    An object may stand in a component's place. A model, a rule or a probe is copied for each run,
    so what is given stays as it is; a class or function is called, as a component's class is.
    `docs/own.md` has examples.

    With `seeds` it returns a `bnnlab_studies.study.Study`; its `results` are those of the runs.
    `print` shows the chief measures of a result, and a study's table of means.

    Args:
        config: A run file, or its content as a mapping.
        recipe: A recipe's name, as `bnn list-recipes` shows it.
        set: More settings, such as `{"optimizer.lr": 0.005}`. They override the arguments.
        host: The plugins to choose from. By default all that are installed.
        rule, optimizer, model, stream: A component's name, or a mapping with `name` and options.
            Or an object: a `LearningRule`; a torch module (`bnnlab.binarize` makes its weights
            binary); a `TaskStream`, such as `bnnlab.stream_from` returns; of each, also a class or
            function that makes one, of optimizers only these.
        probe: Names of probes, mappings with `name` and options, or objects; or a mapping from
            names to options.
        probes: The earlier name of `probe`.
        track: Names of trackers, mappings with `name` and options; or a mapping from names to
            options.
        seeds: Seeds to repeat the run with, or how many; this needs bnnlab-studies.
        resume: Folder of a run to go on with, with all its settings. Only `track`, `host` and the
            objects that it began with may be given.
        allow_changed_versions: With `resume`: go on with other versions of torch, bnnlab or a
            plugin. The result names them.

    Raises:
        UsageError: If the run cannot start with these settings.
        RunError: If the run fails.
    """
    said = {key: value for key, value in locals().items() if key in _SETTINGS and value is not None}
    expect("config", config, str, PathLike, Mapping, NoneType)
    expect("recipe", recipe, str, NoneType)
    expect("set", set, Mapping, NoneType)
    expect("host", host, PluginHost, NoneType)
    host = host or PluginHost()
    many = {Kind.PROBE: _one_of(probe, probes), Kind.TRACKER: track}
    said |= {kind: several for kind, several in many.items() if several is not None}
    if resume is not None:
        others = {"config": config, "recipe": recipe, "set": set, "seeds": seeds}
        said |= {key: value for key, value in others.items() if value is not None}
        expect("resume", resume, str, PathLike)
        folder, allowed = building.expand(str(resume)), bool(allow_changed_versions)
        return train(resumed(host, folder, said, allow_changed_versions=allowed))
    if allow_changed_versions:
        raise UsageError("allow_changed_versions is only for resume")
    named, objects = name_objects(host, said)
    host = offering(host, objects)
    places: list[Mapping[str, Any] | Layer] = [*_files(host, config, recipe)]
    places.append({"out": None, **named})
    places.append(joined(assignment(key, value) for key, value in (set or {}).items()))
    if seeds is None:
        return train(prepare(host, resolve(host, places)))
    warn_of_weights(objects)
    return host.library(STUDIES, "bnnlab_studies.repeating:repeat")(host, places, seeds, train)


def _one_of(probe: Probes, probes: Probes) -> Probes:
    """Return what `probe` says, or `probes`, its earlier name."""
    if probes is None:
        return probe
    if probe is not None:
        raise UsageError("probe and probes are both set, and are one setting. Write probe.")
    warn_of_name("bnnlab.run(probes=)", "write probe=", "bnnlab 0.4")
    return probes


def _files(host: PluginHost, config: Config, recipe: str | None) -> list[Layer]:
    """Return the layers of a recipe and of a run file."""
    places = []
    if recipe is not None:
        places.append(Layer(find_recipe(host, recipe).settings, f"the recipe {recipe}"))
    if isinstance(config, Mapping):
        places.append(Layer(config))
    elif config is not None:
        places.append(Layer(read_config(Path(config)), str(config)))
    return places


_SETTINGS = frozenset({*PARTS, *(option.name for option in RUN_OPTIONS)})


def _document(function: Callable[..., Any]) -> None:
    """Write the help of each run setting into a docstring, after its other arguments."""
    lines = "".join(f"        {option.name}: {option.help}\n" for option in RUN_OPTIONS)
    before, head, after = (function.__doc__ or "").partition("\n    Raises:")
    function.__doc__ = f"{before}{lines}{head}{after}"


_document(run)


def _whole(name: str, value: Any, least: int) -> int:
    """Return a whole number of any library's type."""
    try:
        number = index(value)
    except TypeError:
        raise UsageError(f"{name}: {shown(value)} is not a whole number.") from None
    if not least <= number < 2**63:
        raise UsageError(f"{name}: {shown(number)} is not from {least} to 2**63 - 1.")
    return number
