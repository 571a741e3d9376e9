"""What the cells of a report are called, and which of them `bnn tune` found best."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bnnlab.errors import UsageError
from bnnlab.settings.text import read_config
from bnnlab_studies.cells import departures
from bnnlab_studies.study import Study

log = logging.getLogger("bnnlab.studies")  # whose warnings a report shows

LONGEST = 60
"""Characters of a cell's name that a table has room for."""
BEST = "best.toml"
"""In the folder of a study of `bnn tune`: the settings of its best trial."""


def briefly(study: Study) -> Study:
    """Return a study whose cells are called by their folders, if a name of theirs is too long.

    So it may be with the trials of `bnn tune`; the settings that differ have a table of their own.
    """
    homes = {
        cell: {run.folder.parent for run in runs if run.folder}
        for cell, runs in study.cells.items()
    }
    names = {cell: its.pop().name for cell, its in homes.items() if len(its) == 1}
    if max(map(len, homes)) <= LONGEST or len({*names.values()}) < len(homes):
        return study
    return renamed(study, names)


def told_apart(study: Study) -> Study:
    """Return a study whose cells have their protocol beside their names, if there are several.

    So no table and no figure has values of several protocols in silence.
    """
    hashes = protocols_of(study)
    if len({*hashes.values()} - {""}) < 2:
        return study
    return renamed(
        study, {cell: f"{cell} (protocol {its})" if its else cell for cell, its in hashes.items()}
    )


def protocols_of(study: Study) -> dict[str, str]:
    """Return the protocol's hash of each cell, that of its first complete run; or nothing."""
    return {
        cell: next((run["protocol"] for run in runs if run.is_complete), "")
        for cell, runs in study.cells.items()
    }


def renamed(study: Study, names: Mapping[str, str]) -> Study:
    """Return a study whose cells have these names, in their order."""
    cells = study.cells
    runs = (replace(run, cell=name) for cell, name in names.items() for run in cells[cell])
    return Study(runs, host=study.host)


def best_of(places: Sequence[Path], study: Study) -> str:
    """Return the cell with the settings in best.toml, if this is a study of `bnn tune`."""
    if len(places) > 1 or not (places[0] / BEST).is_file():
        return ""
    try:
        best = read_config(places[0] / BEST)
    except UsageError as error:
        log.warning("%s", error)
        return ""
    said = {name: it for name, it in best.items() if name not in ("seed", "evaluate_on")}
    cells = study.cells.items()
    return next((cell for cell, its in cells if not departures(its[0].settings, said)), "")
