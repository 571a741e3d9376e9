"""Accuracy matrices: the mean of each cell, and that of one run."""

from collections.abc import Sequence

from bnnlab_report.blocks import Cell, Figure, Figures, Note, Section, Table, number
from bnnlab_report.drawing.matrix import Matrix
from bnnlab_report.material import Material

READING = (
    "Row i: after task i is learned. Column j: accuracy on task j, in %. Squares with a dashed "
    "edge are of a task that was not learned yet."
)


def section(material: Material) -> Section:
    """Return the section with the mean matrix of each cell."""
    shown = [cell for cell in material.cells if material.counted[cell]]
    if not shown:
        note = Note("No run is complete. The section on runs shows how far each came.")
        return Section("matrices", "Accuracy matrices", [note])
    drawn = [
        matrix_figure(
            f"matrix-{number}", cell, READING + _over(material, cell), _mean_matrix(material, cell)
        )
        for number, cell in enumerate(shown, start=1)
    ]
    return Section("matrices", "Accuracy matrices", [Figures(drawn)])


def _over(material: Material, cell: str) -> str:
    runs = material.counted[cell]
    return "" if len(runs) == 1 else f" Means over {len(runs)} seeds."


def _mean_matrix(material: Material, cell: str) -> list[list[float | None]]:
    size = range(len(material.counted[cell][0]["tasks"]))
    return [[material.summary(cell, f"accuracy.{i}.{j}").mean for j in size] for i in size]


def matrix_figure(
    name: str, title: str, about: str, values: Sequence[Sequence[float | None]]
) -> Figure:
    """Return an accuracy matrix as a heat map, with its table."""
    tasks = max(map(len, values), default=0)
    heads = ("after task", *(f"on task {n + 1}" for n in range(tasks)))
    rows: list[list[Cell]] = [
        [str(after + 1), *(number("accuracy", value) for value in row)]
        for after, row in enumerate(values)
    ]
    return Figure(name, title, about, Matrix(values), Table(name, f"{title}, in %", heads, rows))
