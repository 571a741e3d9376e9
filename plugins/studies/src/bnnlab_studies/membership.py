"""Which study each run lies in, and which cell of its plan it is a run of."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bnnlab.errors import NOTE, UsageError
from bnnlab.registry.index import as_table, read_toml
from bnnlab_studies.cells import departures, file_name, listed
from bnnlab_studies.record import Record

log = logging.getLogger("bnnlab.studies")  # below `bnnlab`, which the command line shows

PLAN = "study.toml"
"""The plan in the folder of a study."""
HEAD = "# Written by `bnn sweep`: a study with all its settings.\n"
"""The first line of a plan that says all settings of its cells."""


@dataclass(frozen=True)
class Said:
    """What a study.toml says.

    Attributes:
        folder: That it is in.
        cells: Name and settings of each cell by its folder, in the order of the file.
        runs: Names of the folders of a cell's runs, and their seeds.
        is_whole: Whether it says all settings of its cells, and all seeds.
    """

    folder: Path
    cells: Mapping[str, Mapping[str, Any]]
    runs: Mapping[str, Any]
    is_whole: bool


def placed(records: Iterable[Record], place: Path) -> list[Record]:
    """Return records as the plans of the studies that they lie in have them.

    A run that the plan of its study does not have is `foreign`, with a warning. If the place is a
    study's folder, its runs have the names of the plan's cells, in the plan's order.
    """
    read, found, unsure = cache(_read), [], dict[Path, None]()
    for record in records:
        path, said = _study_of(record, read)
        if said and not said.is_whole:
            unsure[said.folder] = None
        found.append(_checked(record, path, said) if said and said.is_whole else record)
    for folder in unsure:
        log.warning("%s is not as `bnn sweep` wrote it: runs below are not checked", folder / PLAN)
    own = read(_absolute(place))
    return _in_cells(own, found) if own else found


def _absolute(path: Path) -> Path:
    """Return a path without `..`, whose links are not followed: a run may lie on another disk."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _read(folder: Path) -> Said | None:
    """Return what the study.toml in a folder says; None without one, or with one of `bnn tune`."""
    file = folder / PLAN
    if not file.exists():
        return None
    try:
        common = dict(read_toml(file))
    except UsageError as error:
        log.warning("%s Runs below it are not checked.", error)
        return None
    if "tune" in common:
        return None
    sweep = as_table(common.pop("sweep", None)) or {}
    cells, seeds = (_list(sweep.get(key)) for key in ("cell", "seeds"))
    named = {
        str(each.get("folder") or file_name(str(each.get("name")))): {**common, **each}
        for each in cells
        if isinstance(each, Mapping)
    }
    is_whole = bool(named and seeds) and file.read_bytes().startswith(HEAD.encode())
    return Said(folder, named, {f"seed-{seed}": seed for seed in seeds}, is_whole)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _study_of(record: Record, read: Callable[[Path], Said | None]) -> tuple[Path, Said | None]:
    """Return a run's path, and the study that it lies in: where it is, or where links lead to.

    A study.toml that `bnn sweep` did not write counts only where a run lies as in a study.
    """
    if record.folder is None:
        return Path(), None
    for path in (_absolute(record.folder), record.folder.resolve()):
        for folder in path.parents:
            said = read(folder)
            is_like = path.parents[1:2] == (folder,) and path.name.startswith("seed-")
            if said and (said.is_whole or is_like):
                return path, said
    return record.folder, None


def _checked(record: Record, path: Path, said: Said) -> Record:
    cell, *rest = path.relative_to(said.folder).parts
    if cell in said.cells and len(rest) == 1 and rest[0] in said.runs:
        faults = departures(record.settings, {**said.cells[cell], "seed": said.runs[rest[0]]})
    else:
        faults = [f"{said.folder / PLAN} has no such cell or seed"]
    if not faults:
        return record
    log.warning("%s is no run of its study: %s", record.folder, "; ".join(faults))
    return replace(record, status="foreign")


def _in_cells(said: Said, records: Iterable[Record]) -> list[Record]:
    """Return the runs of a study, or its kept results, with the names of its cells, in order."""
    names = {folder: str(cell.get("name")) for folder, cell in said.cells.items()}
    order = [*names.values()]
    found = []
    for record in records:
        folder = Path(record.name).parts[0] if record.folder else record.cell
        found.append(replace(record, cell=names.get(folder, folder)))
    if lacking := [name for name in order if name not in {each.cell for each in found}]:
        log.log(NOTE, "%s: no run yet of %s", said.folder / PLAN, listed(lacking))
    return sorted(found, key=lambda r: order.index(r.cell) if r.cell in order else len(order))
