"""A file becomes a plan: what the trials run, what is searched, where all of it is kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import tomli_w

from bnnlab.errors import UsageError, command
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.layers import Layer, Settings, resolve
from bnnlab.settings.run import Choice, RunConfig
from bnnlab.settings.terms import deciding, later
from bnnlab.settings.text import read_config
from bnnlab.storage.files import write_atomically
from bnnlab_optuna.choices import grid
from bnnlab_optuna.reading import read_space
from bnnlab_optuna.space import Space
from bnnlab_optuna.storage import FILE, find_address, without_secrets
from bnnlab_optuna.tuning import Tuning, read_tuning
from bnnlab_studies.cells import digest
from bnnlab_studies.membership import PLAN
from bnnlab_studies.plan import choose_engine, command_of, folder_of
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

    @property
    def again(self) -> str:
        """The command that continues the study."""
        return command("tune", self.folder)

    def folder_of(self, trial: int) -> Path:
        """Return the folder of a trial, by its number."""
        return self.folder / f"trial-{trial:04}"

    @property
    def digest(self) -> str:
        """Of all that makes the trials of a study comparable."""
        fixed = {key: it for key, it in self.content.items() if key not in ("tune", "engine")}
        tuning = self.tuning
        how = [tuning.seeds, tuning.measure, tuning.direction, tuning.aggregate]
        return digest({"fixed": digest(fixed), "space": str(self.space), "how": how})

    def resolve(self, *more: Settings) -> RunConfig:
        """Return the configuration of a run, with further settings over those of the file."""
        return resolve(self.host, [*self.places, *more])

    def unlike(self) -> Iterable[Settings]:
        """Return settings of one run of each kind that is checked only when it begins."""
        found: dict[str, Settings] = {}
        for choices in self.space.combinations():
            config = self.resolve(choices, {"seed": self.tuning.seeds[0]})
            settings = config.as_dict()
            found.setdefault(deciding(settings, later(config)), settings)
        return found.values()

    def write(self) -> None:
        """Write study.toml."""
        write_atomically(self.folder / PLAN, (HEAD + tomli_w.dumps(self.content)).encode())


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
    (file, said), own = _read(place), dict(spoken)
    table, engine = said.pop("tune", None), Layer({"engine": said.pop("engine", {})}, str(file))
    chosen = choose_engine(host, engine, own.pop("engine", {}))
    if trials is not None and isinstance(table, dict):
        table["trials"] = trials
    places = [*take_recipe(host, said), Layer(said, str(file)), Layer(own)]
    config = resolve(host, places)
    tuning = read_tuning(table, config, str(file))
    space = read_space(host, places, config, table.get("space", {}))
    if tuning.sampler == "grid":
        size = prod(map(len, grid(space).values()))
        tuning = replace(tuning, trials=min(tuning.trials, size))
    folder = folder_of(place, config, own)
    _expect_own(folder)
    options = {key: "none" if it is None else it for key, it in chosen.options.items()}
    return Plan(
        host=host,
        places=_fitting(host, space, config, places),
        tuning=tuning,
        space=space,
        folder=folder,
        address=find_address(tuning.storage, folder),
        engine=chosen,
        content={
            **_fixed(config, space),
            "tune": {**table, "storage": without_secrets(tuning.storage)},
            "engine": {"name": chosen.name, **options},
        },
    )


def _read(place: Path) -> tuple[Path, dict[str, Any]]:
    """Return a file, or the study.toml of a folder, and what it says."""
    file = place / PLAN if place.is_dir() else place
    said = read_config(file) if file.exists() or not place.is_dir() else {}
    if "sweep" in said and "tune" not in said:
        again = command_of(place)
        raise UsageError(f"{file} has a table [sweep], and none [tune]. To sweep: {again}")
    if place.is_dir() and not (file.exists() and _is_ours(file)):
        raise UsageError(f"{place} is no folder of a study that was tuned: name a file.")
    return file, said


def _expect_own(folder: Path) -> None:
    """Raise UsageError if a folder holds something else than a study of `bnn tune`."""
    others = [each.name for each in folder.glob("[!.]*") if not each.name.startswith(FILE)]
    file = folder / PLAN
    if file.exists() and not _is_ours(file):
        raise UsageError(f"{folder} holds another study. Choose another --name.")
    if others and not file.exists():  # study.db comes before study.toml
        raise UsageError(f"{folder} holds no study, but {min(others)!r}. Choose another --name.")


def _is_ours(file: Path) -> bool:
    return file.read_bytes().startswith(HEAD.encode())


def _fitting(
    host: PluginHost, space: Space, config: RunConfig, places: Sequence[Settings | Layer]
) -> tuple[Settings | Layer, ...]:
    """Return what all trials set; raise UsageError if something in the space does not fit."""
    model: Settings = {Kind.MODEL: config.choices[Kind.MODEL].name}
    tries_rules = any(each.key == (Kind.RULE, "name") for each in space.dimensions)
    # A rule with a default model would choose another one.
    shared = (*([model] if tries_rules else []), *places, HELD_OUT)
    for choices in space.combinations():
        require(host, resolve(host, [*shared, choices]))
    return shared


def _fixed(config: RunConfig, space: Space) -> dict[str, Any]:
    """Return the settings that are not searched: what a file sets is fixed."""
    fixed = {key: it for key, it in config.as_dict().items() if key not in ("out", "name")}
    for each in space.dimensions:
        *place, last = each.key
        if not each.is_name:  # one component is named, although others are tried
            table: Any = fixed
            for part in place:
                table = table.get(part, {})
            table.pop(last, None)
    return fixed
