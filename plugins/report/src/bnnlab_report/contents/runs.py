"""Every run: what counts, what does not and why, and each matrix on request."""

from bnnlab.errors import BnnlabError, first_line
from bnnlab_report.blocks import Block, Cell, Figure, Figures, Folded, Note, Section, Table, number
from bnnlab_report.contents import matrices
from bnnlab_report.material import Material
from bnnlab_studies.cells import by_seed, few, value_of
from bnnlab_studies.inspection import partial, state_of
from bnnlab_studies.record import Record

SQUARES = 2500
"""The most squares of all matrices of single runs."""


def section(material: Material) -> Section:
    """Return the section on runs."""
    rows: list[list[Cell]] = [
        [
            run.name,
            cell,
            str(run.get("seed", "unknown")),
            run.status,
            *(number(name, value_of(run, name), material.score) for name in _measures(material)),
            run.result.get("protocol", "none yet"),
        ]
        for cell, runs in material.cells.items()
        for run in runs
    ]
    names = map(material.study.heading, _measures(material))
    heads = ("run", "cell", "seed", "status", *names, "protocol")
    table = Table("runs", "All runs", heads, rows)
    drawn = _matrices(material)  # first: it may find faults
    return Section("runs", "Runs", [*_lost(material), table, *drawn])


def _measures(material: Material) -> list[str]:
    return [*dict.fromkeys([material.measure, "seconds"])]


def _lost(material: Material) -> list[Block]:
    """Return what counts in no mean, and why."""
    notes: list[Block] = []
    for cell, runs in material.cells.items():
        told = {run.name: f"{run.name}: {'; '.join([run.status, *state_of(run)])}" for run in runs}
        notes += [Note(told[run.name], is_warning=True) for run in runs if not run.is_complete]
        _, missing = by_seed([run for run in runs if run.is_complete], material.measure)
        notes += [Note(f"{cell}: not counted: {reason}", is_warning=True) for reason in missing]
    faults = [*material.noticed, *(f"{name}: {it}" for name, it in material.faults.items())]
    notes += [Note(fault, is_warning=True) for fault in faults]
    return notes or [Note("All runs are complete, and all of them count.")]


def _matrices(material: Material) -> list[Block]:
    drawn, left, size = list[Figure](), list[str](), 0
    for cell, runs in material.cells.items():
        for run in runs:
            values, about = _matrix(material, run)
            size += min(matrices.TASKS, len(values)) ** 2
            if size > SQUARES:
                left.append(run.name)
            elif values:
                name = f"run-matrix-{len(drawn) + 1}"
                title = f"{cell}, seed {run.get('seed', 'unknown')}"
                about = f"{run.name}, {about}."
                with material.reading(run):
                    shape = values, len(values[0])
                    drawn.append(matrices.figure(name, title, about, *shape, material.score))
    blocks = list[Block]()
    if drawn:
        title = f"The {material.score.name} matrix of each run"
        blocks.append(Folded(title, [Figures(drawn)]))
    if left:
        text = f"Not drawn, to keep this page small: the matrices of {len(left)} runs"
        blocks.append(Note(f"{text} ({few(left, ', ')}). `bnn report RUN` draws each."))
    return blocks


def _matrix(material: Material, run: Record) -> tuple[list[list[float | None]], str]:
    """Return a run's accuracy matrix, as far as it came; and its status."""
    if run.result.get("accuracy"):
        return run.result["accuracy"], run.status
    if run.folder is None or run.status == "damaged":
        return [], run.status
    try:
        found, position = partial(run.folder, run.get("epochs", 0))
    except BnnlabError as error:
        material.faults[run.name] = first_line(error)
        return [], run.status
    return found["accuracy"] or [], f"{run.status}; {position}"
