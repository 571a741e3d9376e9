"""`run`: a whole run, or the same run with several seeds."""

import typing
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Unpack

from torch import nn

from bnnlab.api.arguments import Choosable, Config, Makes, Probes, Said, Several
from bnnlab.deprecation import warn_of_name
from bnnlab.engine import building
from bnnlab.engine.notebook import train, train_together
from bnnlab.engine.objects import name_objects, offering, warn_of_weights
from bnnlab.engine.preparing import prepare
from bnnlab.engine.result import Result
from bnnlab.engine.resuming import resumed
from bnnlab.errors import UsageError
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.stream import TaskStream
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import expect
from bnnlab.settings.layers import Layer, layers_of_recipe, resolve
from bnnlab.settings.run import RUN_OPTIONS, STUDIES, EvaluateOn, Loss, Schedule
from bnnlab.settings.text import assignment, joined, read_config


@typing.overload  # jedi takes `@overload` alone for the signature, and would complete no setting
def run(config: Config = None, *, seeds: None = None, **said: Unpack[Said]) -> Result: ...
@typing.overload
def run(
    config: Config = None,
    *,
    seeds: int | Sequence[int],
    vectorize: bool | None = None,
    **said: Unpack[Said],
) -> Any: ...
def run(  # noqa: D417  # `_document` adds the settings
    config: Config = None,
    *,
    recipe: str | None = None,
    short: bool | None = None,
    rule: Choosable | LearningRule | Makes = None,
    optimizer: Choosable | Makes = None,
    model: Choosable | nn.Module | Makes = None,
    stream: Choosable | TaskStream | Makes = None,
    probe: Probes = None,
    probes: Probes = None,
    track: Several = None,
    epochs: int | list[int] | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    loss: Loss | None = None,
    label_smoothing: float | None = None,
    accumulate: int | None = None,
    clip_value: float | None = None,
    schedule: Schedule | None = None,
    schedule_by: Literal["epoch", "step"] | None = None,
    schedule_over: Literal["task", "run"] | None = None,
    schedule_gamma: float | None = None,
    schedule_every: int | None = None,
    schedule_at: list[int] | None = None,
    warmup: int | None = None,
    task_decay: float | None = None,
    patience: int | None = None,
    keep: Literal["last", "best"] | None = None,
    seed: int | None = None,
    seeds: int | Sequence[int] | None = None,
    vectorize: bool | None = None,
    evaluate_on: EvaluateOn | None = None,
    evaluate: str | None = None,
    forward: bool | None = None,
    device: str | None = None,
    threads: int | None = None,
    uncertainty: bool | None = None,
    fresh: bool | None = None,
    diagnose: bool | None = None,
    precision: Literal["float32", "bfloat16"] | None = None,
    compile: bool | None = None,
    kernels: Literal["torch", "compiled"] | None = None,
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
        short: Whether to take the short form of the recipe, if it has one.
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
        vectorize: With `seeds`: make the steps of all runs together, which is faster for small
            networks and on a GPU. `docs/studies.md` says which runs can.
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
    expect("short", short, bool, NoneType)
    expect("set", set, Mapping, NoneType)
    expect("vectorize", vectorize, bool, NoneType)
    expect("host", host, PluginHost, NoneType)
    host = host or PluginHost()
    many = {Kind.PROBE: _one_of(probe, probes), Kind.TRACKER: track}
    said |= {kind: several for kind, several in many.items() if several is not None}
    if resume is not None:
        others = {"config": config, "recipe": recipe, "short": short, "set": set, "seeds": seeds}
        others["vectorize"] = vectorize
        said |= {key: value for key, value in others.items() if value is not None}
        return _resume(host, resume, said, bool(allow_changed_versions))
    if allow_changed_versions:
        raise UsageError("allow_changed_versions is only for resume")
    if vectorize and seeds is None:
        raise UsageError("vectorize makes the steps of several seeds together: give seeds, too")
    if short and recipe is None:
        raise UsageError("short=True is the short form of a recipe: name it, as recipe=...")
    named, objects = name_objects(host, said)
    host = offering(host, objects)
    places: list[Mapping[str, Any] | Layer] = [*_files(host, config, recipe, bool(short))]
    places.append({"out": None, **named})
    places.append(joined(assignment(key, value) for key, value in (set or {}).items()))
    if seeds is None:
        return train(prepare(host, resolve(host, places)))
    warn_of_weights(objects)
    repeat = host.library(STUDIES, "bnnlab_studies.repeating:repeat")
    how = {"together": train_together} if vectorize else {}
    return repeat(host, places, seeds, train, **how)


def _resume(host: PluginHost, resume: str | Path, said: dict[str, Any], allowed: bool) -> Result:
    expect("resume", resume, str, PathLike)
    folder = building.expand(str(resume))
    return train(resumed(host, folder, said, allow_changed_versions=allowed))


def _one_of(probe: Probes, probes: Probes) -> Probes:
    """Return what `probe` says, or `probes`, its earlier name."""
    if probes is None:
        return probe
    if probe is not None:
        raise UsageError("probe and probes are both set, and are one setting. Write probe.")
    warn_of_name("bnnlab.run(probes=)", "write probe=", "bnnlab 0.4")
    return probes


def _files(host: PluginHost, config: Config, recipe: str | None, short: bool) -> list[Layer]:
    """Return the layers of a recipe and of a run file."""
    places = [] if recipe is None else layers_of_recipe(host, recipe, short)
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
