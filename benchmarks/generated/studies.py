"""The studies of docs/results: their files, their runs and their kept results."""

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnnlab import PluginHost, UsageError
from bnnlab.engine.continual import recent_accuracy
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import CONFIG, RESULT
from bnnlab.storage.rows import unpacked
from bnnlab_studies.cells import digest
from bnnlab_studies.plan import Cell, Plan, make_plan
from bnnlab_studies.record import Record
from generated.rendering import Cells, Described

HOME = Path(__file__).parents[2] / "docs" / "results"
Place = Callable[[Cell, int], Path]
"""Where the run of a cell and a seed is, or its result."""


def cells_of(plan: Plan, place: Place) -> Cells:
    """Return the complete runs of each cell."""
    return {
        cell.name: [run for seed in plan.seeds if (run := _read(place(cell, seed), cell, seed))]
        for cell in plan.cells
    }


def _read(place: Path, cell: Cell, seed: int) -> Record | None:
    """Read a run's folder or a kept result; None if it is not there, or not complete."""
    if place.is_file():
        settings = {**cell.settings, "seed": seed}
        result = json.loads(place.read_text(), object_hook=unpacked)
        run = Record(place.stem, None, result.get("status", "complete"), settings, result)
    elif (place / CONFIG).exists():
        run = Record.read(place)
    else:
        return None
    return replace(run, result=_with_more(run.result)) if run.is_complete else None


def _with_more(result: Mapping[str, Any]) -> dict[str, Any]:
    """Add the measures that only tables have."""
    if "validation_accuracy" in result:  # all that was kept of tuning before `evaluate_on`
        return {"average_accuracy": result["validation_accuracy"], "protocol": ""}
    ends = range(1, len(result["accuracy"]) + 1)
    recent = [recent_accuracy(result["accuracy"][:end]) for end in ends]
    return {**result, "recent": recent, "minutes": result["seconds"] / 60}


def keep(study: Plan, kept: Place, made: Plan) -> None:
    """Copy the complete results of a folder that `bnn sweep` made; nothing else is kept.

    Raises:
        UsageError: If a cell has other settings than in the study.
    """
    cells = {cell.digest: cell for cell in study.cells}
    for cell in made.cells:
        if cell.digest not in cells:
            raise UsageError(f"{made.folder}: cell {cell.name!r} has other settings than the study")
        for seed in made.seeds:
            if _read(made.place(cell, seed), cell, seed):
                target = kept(cells[cell.digest], seed)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(made.place(cell, seed) / RESULT, target)


def file_of(name: str) -> Path:
    """Return the file of a study by its name."""
    folder, _, stem = name.partition("/")
    return HOME / folder / f"{stem or 'study'}.toml"


def study_of(name: str) -> tuple[Plan, Place]:
    """Return a study by its name, and where its results are kept: its own, or those of a claim."""
    file = file_of(name)
    kept = file.parent if file.stem == "study" else file.with_suffix("")

    def place(cell: Cell, seed: int) -> Path:
        own = kept / f"{cell.folder}-{seed}.json"
        return own if own.exists() else runs_of_claims(HOME).get((cell.digest, seed), own)

    return make_plan(PluginHost(), file), place


@functools.cache
def runs_of_claims(home: Path) -> Mapping[tuple[str, int], Path]:
    """Return the results of claims that are kept, by the digest of their settings and the seed."""
    folders = [file.parent for file in sorted((home / "claims").glob("*/*/*/" + CONFIG))]
    settings = {folder: read_config(folder / CONFIG) for folder in folders}
    return {(digest(its), its["seed"]): folder for folder, its in settings.items()}


def kept(name: str) -> tuple[list[Described], Cells]:
    """Return the tables that a study describes, and the runs whose results are kept."""
    study, place = study_of(name)
    return described_in(study), cells_of(study, place)


def described_in(study: Plan) -> list[Described]:
    """Return the tables that a study describes."""
    return [study.table] if isinstance(study.table, Mapping) else [*study.table]
