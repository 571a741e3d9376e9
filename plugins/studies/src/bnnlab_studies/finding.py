"""The runs in a folder, as the plans of their studies have them."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from bnnlab.errors import UsageError
from bnnlab.storage.files import expect_path
from bnnlab.storage.folder import CONFIG
from bnnlab_studies.membership import placed
from bnnlab_studies.record import Record, natural

log = logging.getLogger("bnnlab.studies")  # below `bnnlab`, which the command line shows


def find_records(place: Path | str) -> list[Record]:
    """Return the run in a folder, or all runs below it, sorted by name; of a study, by its plan.

    A kept result is a run too, alone or in a folder of them. A run that lies in a study, and that
    the study's plan does not have, is `foreign`.

    Raises:
        UsageError: If there is none.
    """
    place = Path(place)
    return placed(_found(place), place)


def _found(place: Path) -> list[Record]:
    expect_path(place)
    if place.is_file():
        return [Record.of_result(place)]
    if not place.is_dir():
        is_there = place.exists()
        raise UsageError(f"{place} is no folder" if is_there else f"there is no folder {place}")
    if (place / CONFIG).exists():
        return [Record.read(place)]
    folders = sorted(_run_folders(place), key=natural)
    found = [Record.read(folder, folder.relative_to(place).as_posix()) for folder in folders]
    found = found or list(_kept(place))
    if not found:
        raise UsageError(f"{place} holds no run: no folder in it has a {CONFIG}")
    return found


def _run_folders(place: Path) -> Iterator[Path]:
    """Yield the folders with a run, each once; also those that links lead to."""

    def warn(error: OSError) -> None:
        log.warning("cannot read %s: %s: runs in it are not seen", error.filename, error.strerror)

    seen = set[str]()
    for folder, inner, files in os.walk(place, followlinks=True, onerror=warn):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
        elif CONFIG in files:
            inner.clear()  # nothing in a run's folder is a run
            yield Path(folder)
        seen.add(real)


def _kept(place: Path) -> Iterator[Record]:
    for file in sorted(place.glob("*.json"), key=natural):
        try:
            yield Record.of_result(file)
        except UsageError as error:
            log.warning("%s", error)
