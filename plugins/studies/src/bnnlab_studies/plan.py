"""A plan: the cells and seeds of a study, resolved and checked, and the folder it is kept in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bnnlab.errors import NotInstalledError, UsageError, command, refuse
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.layers import Layer, resolve, resolve_components
from bnnlab.settings.run import KINDS, Choice, RunConfig
from bnnlab.settings.terms import Later, later
from bnnlab.storage.folder import named_folder
from bnnlab_studies.cells import APART, digest, file_name, listed
from bnnlab_studies.job import Job
from bnnlab_studies.membership import PLAN
from bnnlab_studies.study import TABLE
from bnnlab_studies.sweep_file import Point, read


@dataclass(frozen=True)
class Cell:
    """A set of settings that is run with every seed.

    Attributes:
        name: For people.
        settings: As `RunConfig.as_dict()` returns them.
        folder: Name of the folder with its runs.
        later: What is checked once its parts are made.
    """

    name: str
    settings: Mapping[str, Any]
    folder: str = "cell"
    later: tuple[Later, ...] = field(default=(), compare=False, repr=False)

    @cached_property
    def digest(self) -> str:
        """What it is known by."""
        return digest(self.settings)


@dataclass(frozen=True)
class Plan:
    """A study that can be carried out.

    Attributes:
        folder: Of the study.
        cells: In the order in which they are shown.
        seeds: Of every cell.
        engine: What carries out the runs.
        table: What a script that prints tables of the study reads.
    """

    folder: Path
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    engine: Choice
    table: Any = ()

    def jobs(self, threads: int) -> list[Job]:
        """Return all runs, each cell's first seed first.

        Args:
            threads: For the runs that do not say their own number.
        """
        jobs = []
        for seed in self.seeds:
            for cell in self.cells:
                settings = {**cell.settings, "seed": seed}
                if settings["threads"] == "none":
                    settings["threads"] = threads
                jobs.append(Job(settings, self.place(cell, seed), f"{cell.name}, seed {seed}"))
        return jobs

    def place(self, cell: Cell, seed: int) -> Path:
        """Return the folder of a run."""
        return self.folder / cell.folder / f"seed-{seed}"

    def as_toml(self) -> dict[str, Any]:
        """Return a sweep file with all settings, that says this plan again."""
        tables = [
            {key: it for key, it in cell.settings.items() if key not in ("seed", "out", "name")}
            for cell in self.cells
        ]
        first, *others = tables
        common = {key: it for key, it in first.items() if all(o.get(key) == it for o in others)}
        cells = [
            {
                "name": cell.name,
                "folder": cell.folder,
                **{key: it for key, it in table.items() if key not in common},
            }
            for cell, table in zip(self.cells, tables, strict=True)
        ]
        options = {key: "none" if it is None else it for key, it in self.engine.options.items()}
        return {
            **common,
            "sweep": {"seeds": [*self.seeds], "cell": cells},
            "engine": {"name": self.engine.name, **options},
            **({"table": self.table} if self.table else {}),
        }


def make_plan(host: PluginHost, place: Path, spoken: Mapping[str, Any] | None = None) -> Plan:
    """Return the plan of a sweep file, or of a study's folder.

    Args:
        host: The plugins.
        place: The file, or the folder.
        spoken: Settings that come before the file's, with `engine` among them.

    Raises:
        UsageError: With all that is wrong with the cells, or the first of other faults.
    """
    settings = dict(spoken or {})
    engine = settings.pop("engine", {})
    file = read(host, place)
    if file.seeds is not None and (file.says_seed or "seed" in settings):
        raise UsageError("seed: [sweep] says the seeds of the study. Leave the setting out.")
    configs = _resolve_all(host, file.points, settings)
    return Plan(
        folder_of(place, configs[0], settings),
        _cells(file.points, configs),
        (configs[0].seed,) if file.seeds is None else file.seeds,
        choose_engine(host, Layer({"engine": file.engine}, file.source), engine),
        file.table,
    )


def _resolve_all(
    host: PluginHost, points: Sequence[Point], spoken: Mapping[str, Any]
) -> list[RunConfig]:
    configs, faults, needs = [], dict[str, list[str]](), dict[str, str]()
    for point in points:
        try:
            config = resolve(host, [*point.layers, spoken])
            require(host, config)
            configs.append(config)
        except NotInstalledError as error:
            needs |= error.needs
        except UsageError as error:
            faults.setdefault(str(error), []).append(point.name)
    refuse([_named(names, len(points)) + text for text, names in faults.items()], needs)
    return configs


def _named(names: Sequence[str], count: int) -> str:
    """Return the names of cells in front of what is wrong with them."""
    if len(names) == count:
        return "every cell: " if count > 1 else ""
    return f"cell{'s' if len(names) > 1 else ''} {listed(names)}: "


def command_of(folder: Path) -> str:
    """Return the command that goes on with a study."""
    return command("sweep", folder)


def folder_of(place: Path, config: RunConfig, spoken: Mapping[str, Any]) -> Path:
    """Return a study's folder: the place, or a folder called like it if that is a file.

    A study.toml is called like its own folder.

    Args:
        place: The file or the folder.
        config: What it says.
        spoken: What the command line says.

    Raises:
        UsageError: If the folder cannot be called so, or there is to be none.
    """
    if place.is_dir():
        if unfit := {"out", "name"} & spoken.keys():
            raise UsageError(f"--{min(unfit)} is for a file: {place} is a study's folder already")
        return place
    if config.out is None:
        raise UsageError("out: a study needs a folder; name one.")
    stem = place.resolve().parent.name if place.name == PLAN else place.stem
    return named_folder(Path(config.out).expanduser(), config.name or stem)


def _cells(points: Sequence[Point], configs: Sequence[RunConfig]) -> tuple[Cell, ...]:
    cells = [
        Cell(
            point.name or described(config),
            config.as_dict(),
            file_name(point.folder or point.name),
            tuple(later(config)),
        )
        for point, config in zip(points, configs, strict=True)
    ]
    known, named = dict[str, Cell](), dict[str, Cell]()
    faults = []
    for cell in cells:
        same = known.setdefault(cell.digest, cell)
        alike = named.setdefault(cell.name.casefold(), cell)
        for other, what in (same, _in_what(same, cell)), (alike, "have one name"):
            if other is not cell:
                faults.append(f"cells {other.name!r} and {cell.name!r} {what}.")
    if faults:
        raise UsageError(" ".join(faults))
    return in_folders(cells, {})


def _in_what(one: Cell, other: Cell) -> str:
    """Return what two cells of one digest have in common."""
    if apart := [k for k in sorted(APART) if one.settings.get(k) != other.settings.get(k)]:
        return f"differ only in {' and '.join(apart)}: that tells no cells apart"
    return "have equal settings"


def in_folders(cells: Iterable[Cell], known: Mapping[str, str]) -> tuple[Cell, ...]:
    """Return cells with a folder of their own each: its digest, where another has its name.

    Args:
        cells: The cells.
        known: Folders that cells have already, by their digests.
    """
    taken = {PLAN, TABLE, *(folder.casefold() for folder in known.values())}
    placed = []
    for cell in cells:
        free = cell.folder if cell.folder.casefold() not in taken else cell.digest
        placed.append(replace(cell, folder=known.get(cell.digest, free)))
        taken.add(placed[-1].folder.casefold())  # many systems ignore case
    return tuple(placed)


def described(config: RunConfig) -> str:
    """Return the name of the only cell of a study: its components."""
    return " + ".join(config.choices[kind].component.name for kind in KINDS)


def choose_engine(host: PluginHost, said: Layer, spoken: Any) -> Choice:
    """Return the engine that a file's `engine` and the command line choose; else `local`.

    Raises:
        UsageError: With everything that is wrong with it.
    """
    layers: list[Any] = [{"engine": "local"}, said, {"engine": spoken}]
    return resolve_components(host, layers, [Kind.ENGINE])[Kind.ENGINE]
