"""A file becomes a plan: what the trials run, what is searched, where all of it is kept."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import tomli_w

from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import as_table
from bnnlab.registry.options import shown
from bnnlab.registry.recipes import find_recipe
from bnnlab.settings.fit import require
from bnnlab.settings.layers import Layer, Merged, Settings, choose, merge, resolve
from bnnlab.settings.run import RunConfig
from bnnlab.settings.text import read_config
from bnnlab.storage.files import write_atomically
from bnnlab_optuna.choices import grid
from bnnlab_optuna.reading import FIXED, read_space
from bnnlab_optuna.space import Space
from bnnlab_optuna.storage import find_address, without_secrets
from bnnlab_optuna.tuning import WITHIN, Tuning, read_tuning
from bnnlab_studies.engine import Engine

FILE = "study.toml"
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
        digest: Of all that makes trials comparable.
        content: What study.toml holds.
    """

    host: PluginHost
    places: tuple[Settings | Layer, ...]
    tuning: Tuning
    space: Space
    folder: Path
    address: str
    engine: Engine
    digest: str
    content: Mapping[str, Any]

    @property
    def within(self) -> bool:
        """Whether a run reports while it goes on, so that it can be stopped."""
        is_pruned = self.tuning.pruner != "none"
        return is_pruned and len(self.tuning.seeds) == 1 and self.tuning.measure in WITHIN

    def resolve(self, *more: Settings) -> RunConfig:
        """Return the configuration of a run, with further settings over those of the file."""
        return resolve(self.host, [*self.places, *more])

    def write(self) -> None:
        """Write study.toml."""
        write_atomically(self.folder / FILE, tomli_w.dumps(self.content).encode())


def read_plan(host: PluginHost, file: Path, spoken: Mapping[str, Any], trials: int | None) -> Plan:
    """Read and check a file, or the study.toml of a study's folder.

    Args:
        host: The plugins.
        file: The file or folder.
        spoken: The settings of the command line, which are stronger; also of the engine.
        trials: What the command line says of `[tune] trials`.

    Raises:
        UsageError: If no trial can begin.
    """
    is_folder = file.is_dir()
    if is_folder and not (file / FILE).exists():
        raise UsageError(f"{file} is no study's folder: there is no {FILE} to read.")
    source = file / FILE if is_folder else file
    said, own = read_config(source), dict(spoken)
    table = said.pop("tune", None)
    if isinstance(table, Mapping) and trials is not None:
        table = {**table, "trials": trials}
    engine, engine_said = _engine(host, said.pop(Kind.ENGINE, None), own.pop(Kind.ENGINE, None))
    recipe = said.pop("recipe", None)
    places: list[Settings | Layer] = []
    if recipe is not None:
        found = find_recipe(host, str(recipe))
        places.append(Layer(found.settings, f"the recipe {recipe}"))
    places += [Layer(said, str(source)), own]
    config = resolve(host, places)
    tuning = read_tuning(table, config.seed, str(source))
    space = read_space(host, places, config, table.get("space") if table else None)
    merged = merge(host.index, places)
    if any(each.key[0] == Kind.RULE for each in space.components):
        (model,) = merged.of(Kind.MODEL)  # a rule may have a default model of its own
        places.append({Kind.MODEL: {"name": model.name}})
    places.append(HELD_OUT)
    for chosen in space.combinations():
        require(host, resolve(host, [*places, chosen]))
    if tuning.sampler == "grid":
        size = prod(map(len, grid(space).values()))
        tuning = replace(tuning, trials=min(tuning.trials, size))
    folder = file if is_folder else _folder(config, file)
    address = find_address(tuning.storage, folder)
    kept = {**(table or {}), "storage": without_secrets(tuning.storage)}
    content = {**_said(merged), "tune": kept, **({"engine": engine_said} if engine_said else {})}
    return Plan(
        host,
        tuple(places),
        tuning,
        space,
        folder,
        address,
        engine,
        _digest(config, tuning, space),
        content,
    )


def _engine(host: PluginHost, said: Any, spoken: Any) -> tuple[Engine, Mapping[str, Any]]:
    """Return the engine, and what was said of it."""
    table: dict[str, Any] = {}
    for each in (said, spoken):
        if each is None:
            continue
        if (part := as_table(each)) is None:
            raise UsageError(f"engine: {shown(each)} is neither a name nor a table with one.")
        other = part.get("name", table.get("name")) != table.get("name")
        table = {**({} if other else table), **part}
    options = {key: value for key, value in table.items() if key != "name"}
    choice = choose(host, Kind.ENGINE, table.get("name", "local"), options)
    made: Engine = host.load(choice.plugin, choice.component)(**choice.options)
    return made, table


def _folder(config: RunConfig, file: Path) -> Path:
    if config.out is None:
        raise UsageError("out: a study needs a folder to be written to.")
    name = config.name or file.stem
    if Path(name).name != name or name == "..":
        raise UsageError(f"name: {name!r} is not a folder's name; --out says where it is made.")
    return Path(config.out).expanduser() / name


def _said(merged: Merged) -> dict[str, Any]:
    """Return all that was said of the runs, but for where they lie; no default is in it."""
    own = {key: value for key, value in merged.values.items() if key not in ("out", "name")}
    tables = {
        str(each.kind): dict(each.table) for each in merged.components if each.kind != Kind.PROBE
    }
    probes = {
        each.name: {key: value for key, value in each.table.items() if key != "name"}
        for each in merged.of(Kind.PROBE)
    }
    every = {**own, **tables, **({"probe": probes} if probes else {})}
    return {key: "none" if value is None else value for key, value in every.items()}


def _digest(config: RunConfig, tuning: Tuning, space: Space) -> str:
    """Return a hash of all that makes the trials of two studies comparable."""
    settings = {key: value for key, value in config.as_dict().items() if key not in FIXED}
    dimensions = [[each.name, str(each.what)] for each in space.dimensions]
    how = [tuning.seeds, tuning.measure, tuning.direction, tuning.aggregate]
    text = json.dumps([settings, dimensions, how], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
