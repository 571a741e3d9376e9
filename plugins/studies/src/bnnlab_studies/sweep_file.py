"""Sweep files: what one says, before its settings are checked."""

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from bnnlab.errors import UsageError, command, did_you_mean
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import as_table, read_toml
from bnnlab.registry.options import shown
from bnnlab.settings.layers import Layer, layers_of_recipe
from bnnlab.settings.text import assignment, joined, written
from bnnlab.storage.files import expect_path
from bnnlab_studies.membership import PLAN
from bnnlab_studies.record import leaves

KEYS = ("seeds", "grid", "zip", "cell")
"""What `[sweep]` may hold."""
ELSEWHERE = {
    "seed": "seeds are repetitions: [sweep] seeds = [0, 1, 2]",
    "out": "a study has one folder: --out says where it is made",
    "name": "a study has one folder: --name says how it is called",
}
"""Settings that no cell has."""
MOST = 10_000
"""Seeds of one study."""


@dataclass(frozen=True)
class Point:
    """A cell that is not checked yet.

    Attributes:
        name: As the file says, or made of what the grid and the zip set; may be empty.
        layers: What sets its settings, weakest first.
        folder: Name of the folder with its runs, where a study.toml says it; else empty.
    """

    name: str
    layers: tuple[Layer, ...]
    folder: str = ""


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says.

    Attributes:
        source: The file, for messages.
        points: Its cells.
        seeds: None if the file does not say them.
        says_seed: Whether the file has the setting `seed`.
        engine: Name and options of the engine, as far as the file says them.
        table: What a script that prints tables of the study reads.
    """

    source: str
    points: tuple[Point, ...]
    seeds: tuple[int, ...] | None
    says_seed: bool
    engine: Mapping[str, Any]
    table: Any


def read(host: PluginHost, place: Path) -> SweepFile:
    """Read a sweep file, or that in a study's folder.

    Raises:
        UsageError: If it cannot be read, or `[sweep]`, `[engine]` or `[table]` is wrong.
    """
    expect_path(place)
    file = place / PLAN if place.is_dir() else place
    if place.is_dir() and not file.exists():
        raise UsageError(f"{place} is no folder of a study: it has no {PLAN}. Name a sweep file.")
    settings, source = dict(read_toml(file)), str(file)
    sweep, engine = settings.pop("sweep", None), as_table(settings.pop("engine", {}))
    table = settings.pop("table", [])
    tables = table if isinstance(table, list) else [table]
    if sweep is None:
        tune, run = command("tune", place), command("run", "-c", file)
        other = f"To tune: {tune}" if "tune" in settings else f"One run: {run}"
        raise UsageError(f"{source} has no table [sweep]. {other}")
    if not isinstance(sweep, Mapping):
        raise UsageError(f"sweep: {shown(sweep)} is not a table. It is set in {source}.")
    if engine is None:
        raise UsageError(f"engine: it is neither a name nor a table with one, in {source}.")
    if not all(isinstance(each, Mapping) for each in tables):
        raise UsageError(f"table: {shown(table)} is not a table. It is set in {source}.")
    for key in sweep.keys() - {*KEYS}:
        hint = did_you_mean(key, KEYS) or f" It has: {', '.join(KEYS)}."
        raise UsageError(f"[sweep] {key}: there is no such entry.{hint} It is set in {source}.")
    base = (*take_recipe(host, settings), Layer(settings, source))
    parts = (
        [*_named(host, sweep.get("cell", []), source)],
        _zip(_lists(sweep.get("zip", {}), "zip", source), source),
        _grid(_lists(sweep.get("grid", {}), "grid", source), source),
    )
    points = (
        Point(
            ", ".join(each.name for each in some if each.name),
            sum((each.layers for each in some), base),
            "".join(each.folder for each in some),
        )
        for some in product(*(part or [Point("", ())] for part in parts))
    )
    seeds = seeds_of(sweep["seeds"], f"[sweep] seeds in {source}") if "seeds" in sweep else None
    return SweepFile(source, tuple(points), seeds, "seed" in settings, engine, table)


def seeds_of(said: Any, what: str = "seeds") -> tuple[int, ...]:
    """Return the seeds that a list names, or 0 to N - 1 for a number N of repetitions.

    Raises:
        UsageError: If they are not different whole numbers from 0, or there are none.
    """
    try:
        if isinstance(said, bool | str):
            raise TypeError
        if hasattr(said, "__index__"):
            seeds = tuple(range(min(operator.index(said), MOST + 1)))
        else:
            seeds = tuple(operator.index(each) for each in said if not isinstance(each, bool))
            if len({*seeds}) < len([*said]):
                raise TypeError
        if not 0 < len(seeds) <= MOST or not all(0 <= seed < 2**63 for seed in seeds):
            raise TypeError
    except TypeError:
        raise UsageError(
            f"{what}: {shown(said)}. Write how many seeds (1 to {MOST}), or a list of different "
            "whole numbers, each from 0 to 2^63 - 1."
        ) from None
    return seeds


def take_recipe(host: PluginHost, settings: dict[str, Any]) -> list[Layer]:
    """Take the recipe that settings name out of them; a recipe's own `[recipe]` says nothing.

    Raises:
        UsageError: If there is no such recipe, or `short` beside it asks for a form it has not.
    """
    name = settings.pop("recipe", None)
    if not isinstance(name, str):
        return []
    short = settings.pop("short", False)
    if not isinstance(short, bool):
        raise UsageError(f"short: {shown(short)} is neither true nor false. It is for {name!r}.")
    return layers_of_recipe(host, name, short)


def _named(host: PluginHost, cells: Any, source: str) -> Iterator[Point]:
    """Yield the cells of `[[sweep.cell]]`."""
    if not isinstance(cells, list) or not all(isinstance(each, Mapping) for each in cells):
        raise UsageError(f"[sweep] cell: write each cell as a table [[sweep.cell]], in {source}.")
    for number, cell in enumerate(cells, 1):
        settings = dict(cell)
        name = settings.pop("name", None)
        if not isinstance(name, str) or not name.strip():
            said = "" if name is None else f": {shown(name)} is none. Write a text in quotes"
            raise UsageError(f"[[sweep.cell]] number {number} in {source} has no name{said}.")
        where = f"cell {name!r} of {source}"
        folder = str(settings.pop("folder", ""))
        _refuse_elsewhere(settings, where)
        yield Point(name, (*take_recipe(host, settings), Layer(settings, where)), folder)


def _refuse_elsewhere(settings: Iterable[str], where: str) -> None:
    for key in settings:
        if key in ELSEWHERE:
            raise UsageError(f"{key} in {where}: {ELSEWHERE[key]}")


def _lists(table: Any, what: str, source: str) -> dict[str, Sequence[Any]]:
    """Return the lists of `[sweep.grid]` or `[sweep.zip]` by dotted name."""
    where = f"[sweep.{what}] of {source}"
    if not isinstance(table, Mapping):
        raise UsageError(f"{where} is not a table.")
    found = dict(leaves(table))
    for key, values in found.items():
        if not isinstance(values, list) or not values:
            fault = "the list is empty" if values == [] else f"{shown(values)} is not a list"
            raise UsageError(f"{key} in {where}: {fault}.")
    _refuse_elsewhere(found, where)
    return found


def _grid(lists: Mapping[str, Sequence[Any]], source: str) -> list[Point]:
    """Return every combination."""
    where = f"[sweep.grid] of {source}"
    for key, values in lists.items():
        told = [written(each) for each in values]
        if twice := [each for number, each in enumerate(told) if each in told[:number]]:
            raise UsageError(f"{key} in {where}: the list has the value {twice[0]} twice.")
    return [_point(lists, values, where) for values in product(*lists.values())] if lists else []


def _zip(lists: Mapping[str, Sequence[Any]], source: str) -> list[Point]:
    """Return the first values of all lists, their second ones, and so on."""
    where = f"[sweep.zip] of {source}"
    lengths = {key: len(values) for key, values in lists.items()}
    if len({*lengths.values()}) > 1:
        said = ", ".join(f"{key} has {length} values" for key, length in lengths.items())
        raise UsageError(f"{where}: the lists must have one length: {said}.")
    return [_point(lists, values, where) for values in zip(*lists.values(), strict=True)]


def _point(keys: Iterable[str], values: Iterable[Any], where: str) -> Point:
    pairs = [*zip(keys, values, strict=True)]
    try:
        settings = joined(assignment(key, value) for key, value in pairs)
    except UsageError as error:
        raise UsageError(f"{where}: {str(error).removeprefix('--set ')}") from None
    return Point(", ".join(_label(*pair) for pair in pairs), (Layer(settings, where),))


def _label(key: str, value: Any) -> str:
    """Return a setting as names of cells show it: `optimizer=meta, optimizer.m=5.0`."""
    if not isinstance(value, Mapping):
        return f"{key}={written(value)}"
    name = [f"{key}={value['name']}"] if "name" in value else []
    return ", ".join([*name, *(_label(f"{key}.{k}", v) for k, v in value.items() if k != "name")])
