"""Runs of several places, as one study."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bnnlab.errors import UsageError
from bnnlab.registry.host import PluginHost
from bnnlab_studies.record import Record
from bnnlab_studies.study import Study


def gather(places: Sequence[Path], host: PluginHost | None = None) -> Study:
    """Return the cells of several places as one study, in their order.

    A place that holds one cell gives it its name.

    Raises:
        UsageError: If a place holds no run, or a run is given twice.
    """
    studies = [Study.read(place) for place in places]
    labels = [_label(place, study) for place, study in zip(places, studies, strict=True)]
    if len({*labels}) < len(labels):
        labels = [str(place) for place in places]
    runs: list[Record] = []
    for number, (label, study) in enumerate(zip(labels, studies, strict=True)):
        if label in labels[:number]:
            raise UsageError(f"{label} is given twice")
        for cell, its in study.cells.items():
            inner = cell if len(places) == 1 else f"{label}: {cell}"
            name = label if len(study.cells) == 1 else inner
            runs += [replace(run, cell=name, name=str(run.folder or run.name)) for run in its]
    _expect_once(runs)
    return Study(runs, host=host)


def _expect_once(runs: Sequence[Record]) -> None:
    seen = set[Path]()
    for place in (run.folder.resolve() for run in runs if run.folder):
        if place in seen:
            raise UsageError(f"{place} is in two cells: a run is not compared with itself")
        seen.add(place)


def _label(place: Path, study: Study) -> str:
    return study[0].cell if place.is_file() else study.name
