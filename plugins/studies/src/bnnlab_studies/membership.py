"""Which cell of a study's plan each run belongs to."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnnlab.registry.index import read_toml
from bnnlab_studies.cells import departures, file_name
from bnnlab_studies.record import Record

log = logging.getLogger("bnnlab.studies")  # below `bnnlab`, which the command line shows

HEAD = "# Written by `bnn sweep`: a study with all its settings.\n"
"""The first line of a plan that says all settings of its cells."""


def planned(file: Path, records: Iterable[Record]) -> list[Record]:
    """Return records with the cells of a plan, in its order. A cell is a folder with its runs.

    A run with other settings than the plan gives its cell is `foreign`, with a warning.
    """
    common = dict(read_toml(file))
    sweep = common.pop("sweep", None)
    cells = sweep.get("cell", []) if isinstance(sweep, Mapping) else []
    is_whole = file.read_bytes().startswith(HEAD.encode())
    named = {str(each.get("folder") or file_name(str(each.get("name")))): each for each in cells}
    order = [str(cell.get("name")) for cell in cells]
    found = []
    for record in records:
        folder = Path(record.name).parts[0] if record.folder else record.cell
        cell = named.get(folder)
        own = replace(record, cell=str(cell.get("name")) if cell else folder)
        found.append(_checked(own, {**common, **cell}) if cell and is_whole else own)
    return sorted(found, key=lambda r: order.index(r.cell) if r.cell in order else len(order))


def _checked(record: Record, said: Mapping[str, Any]) -> Record:
    seed = Path(record.name).name.removeprefix("seed-")
    seeds = {"seed": int(seed)} if seed.isdecimal() else {}
    if not (found := departures(record.settings, {**said, **seeds})):
        return record
    log.warning("%s is no run of its cell: %s", record.folder, "; ".join(found))
    return replace(record, status="foreign")
