"""A file becomes a plan: what the trials run, what is searched, where all of it is kept."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import tomli_w

from bnnlab.engine.result import MEASURES
from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.layers import Layer, Merged, Settings, merge, resolve
from bnnlab.settings.run import Choice, RunConfig
from bnnlab.settings.text import read_config
from bnnlab.storage.files import write_atomically
from bnnlab_optuna.choices import grid
from bnnlab_optuna.reading import read_space
from bnnlab_optuna.space import Space
from bnnlab_optuna.storage import find_address, without_secrets
from bnnlab_optuna.tuning import Tuning, read_tuning
from bnnlab_studies.cells import digest
from bnnlab_studies.plan import choose_engine, folder_of
from bnnlab_studies.study import PLAN
from bnnlab_studies.sweep_file import take_recipe

HEAD = "# Written by `bnn tune`: what it was told.\n"
HELD_OUT: Settings = {"evaluate_on": "validation"}


@dataclass(frozen=True)
class Plan:
    """What `bnn tune` is going to do.

    Attributes:
        host: The plugins.
        places: All that set something in the runs, weakest first.
        tuning: The table `[tune]`.
        space: What is searched.
        folder: Of the study.
        address: Of its storage.
        engine: What carries out the trials.
        content: What the study.toml in the folder says.
    """

    host: PluginHost
    places: tuple[Settings | Layer, ...]
    tuning: Tuning
    space: Space
    folder: Path
    address: str = field(repr=False)
    engine: Choice
    content: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """Of all that makes the trials of a study comparable."""
        dimensions = [[each.name, repr(each.what)] for each in self.space.dimensions]
        how = [self.tuning.seeds, self.tuning.measure, self.tuning.direction, self.tuning.aggregate]
        text = json.dumps([digest(self.resolve().as_dict()), dimensions, how])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def resolve(self, *more: Settings) -> RunConfig:
        """Return the configuration of a run, with further settings over those of the file."""
        return resolve(self.host, [*self.places, *more])

    def write(self) -> None:
        """Write study.toml.

        Raises:
            UsageError: If the folder has one that `bnn tune` did not write.
        """
        file = self.folder / PLAN
        if file.exists() and not _is_ours(file):
            raise UsageError(f"{self.folder} holds another study. Choose another --name.")
        write_atomically(file, (HEAD + tomli_w.dumps(self.content)).encode())


def read_plan(
    host: PluginHost, place: Path, spoken: Mapping[str, Any], trials: int | None = None
) -> Plan:
    """Read and check a file, or a study's folder.

    Args:
        host: The plugins.
        place: The file or the folder.
        spoken: The settings of the command line, which are stronger; the engine among them.
        trials: What the command line says in place of `[tune] trials`.

    Raises:
        UsageError: If no trial can begin.
    """
    file = place / PLAN if place.is_dir() else place
    said = read_config(file) if file.exists() or not place.is_dir() else {}
    table, own = said.pop("tune", None), dict(spoken)
    if table is None and "sweep" in said:
        again = f"bnn sweep {shlex.quote(str(place))}"
        raise UsageError(f"{file} has a table [sweep], and none [tune]. To sweep: {again}")
    if place.is_dir() and not (file.exists() and _is_ours(file)):
        raise UsageError(f"{place} is no folder of a study that was tuned: name a file.")
    engine = Layer({"engine": said.pop("engine", {})}, str(file))
    places = [*take_recipe(host, said), Layer(said, str(file)), Layer(own)]
    spoken_engine = own.pop("engine", {})
    config = resolve(host, places)
    if trials is not None and isinstance(table, dict):
        table = {**table, "trials": trials}
    tuning = read_tuning(table, config.seed, str(file))
    _expect_measure(tuning.measure, config)
    space = read_space(host, places, config, table.get("space", {}))
    if tuning.sampler == "grid":
        size = prod(map(len, grid(space).values()))
        tuning = replace(tuning, trials=min(tuning.trials, size))
    folder = folder_of(place, config, own)
    merged = merge(host.index, places)
    chosen = choose_engine(host, engine, spoken_engine)
    return Plan(
        host=host,
        places=_fitting(host, space, merged, places),
        tuning=tuning,
        space=space,
        folder=folder,
        address=find_address(tuning.storage, folder),
        engine=chosen,
        content=_content(merged, table, chosen),
    )


def _is_ours(file: Path) -> bool:
    return file.read_bytes().startswith(HEAD.encode())


def _expect_measure(measure: str, config: RunConfig) -> None:
    """Refuse a measure that no run can have; those of a probe are known once a run has them."""
    if not config.probes and measure.partition(".")[0] not in MEASURES:
        hint = did_you_mean(measure, MEASURES) or f" They have: {', '.join(MEASURES)}."
        raise UsageError(f"tune.measure: runs do not have {measure}.{hint}")


def _fitting(
    host: PluginHost, space: Space, merged: Merged, places: Sequence[Settings | Layer]
) -> tuple[Settings | Layer, ...]:
    """Return the settings of all trials; raise UsageError if some components do not fit."""
    shared = [*places, HELD_OUT]
    if any(each.key[0] == Kind.RULE for each in space.components):
        (model,) = merged.of(Kind.MODEL)  # else a rule with a default model would choose it
        shared.append({Kind.MODEL: {"name": model.name}})
    for chosen in space.combinations():
        require(host, resolve(host, [*shared, chosen]))
    return tuple(shared)


def _content(merged: Merged, table: Mapping[str, Any], engine: Choice) -> dict[str, Any]:
    """Return all that was said, as a file: no default is in it, since what is set is fixed."""
    own = {key: value for key, value in merged.values.items() if key not in ("out", "name")}
    components = {str(each.kind): dict(each.table) for each in merged.of(*Kind)}
    probes = {each.name: _options(each.table) for each in merged.of(Kind.PROBE)}
    tune = {**table, "storage": without_secrets(table.get("storage", "sqlite"))}
    options = {key: "none" if it is None else it for key, it in engine.options.items()}
    said = {**own, **components, "probe": probes, "tune": tune}
    said["engine"] = {"name": engine.name, **options}
    return {key: "none" if value is None else value for key, value in said.items() if value != {}}


def _options(table: Settings) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "name"}
