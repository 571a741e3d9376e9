"""Accuracy matrices: the mean of each cell, and that of one run."""

from collections.abc import Sequence

from bnnlab.engine.figures import Score
from bnnlab_report.blocks import Block, Cell, Figure, Figures, Note, Section, number, spread
from bnnlab_report.drawing.matrix import Matrix
from bnnlab_report.material import Material

READING = (
    "Row i: after task i is learned. Column j: {} on task j. A square with a dashed edge is of a "
    "task that was not learned yet."
)
CELLS = 12
"""The most cells whose matrices are drawn."""
TASKS = 16
"""The most tasks in a matrix: so many squares have room for their numbers."""

Values = Sequence[Sequence[float | None]]


def section(material: Material) -> Section:
    """Return the section with the mean matrix of each cell."""
    counted = {cell: runs for cell, runs in material.counted.items() if runs}
    score = material.score
    heading = score.named("Accuracy matrices")
    if not counted:
        note = Note("No run is complete. The section on runs shows how far each came.")
        return Section("matrices", heading, [note])
    drawn = []
    for place, (cell, runs) in enumerate([*counted.items()][:CELLS], start=1):
        size = range(len(runs[0]["tasks"]))
        shown = {*spread(len(size), TASKS)}
        means = [
            [
                material.summary(cell, f"accuracy.{i}.{j}").mean if {i, j} <= shown else None
                for j in size
            ]
            for i in size
        ]
        over = "One run." if len(runs) == 1 else f"Mean over {len(runs)} seeds."
        drawn.append(figure(f"matrix-{place}", cell, over, means, len(size), score))
    what = f"{score.name}, in %," if score.is_share else score.name
    blocks: list[Block] = [Note(READING.format(what)), Figures(drawn)]
    if len(counted) > CELLS:
        blocks.insert(1, Note(f"The first {CELLS} of {len(counted)} cells are drawn."))
    return Section("matrices", heading, blocks)


def figure(name: str, title: str, about: str, values: Values, tasks: int, score: Score) -> Figure:
    """Return an accuracy matrix as a heat map, with its table; of many tasks, some of them."""
    shown = spread(tasks, TASKS)
    if len(shown) < tasks:
        about += f" {len(shown)} of {tasks} tasks are shown; result.json has all."
    few = [[values[i][j] for j in shown] for i in shown if i < len(values)]
    numbers = [task + 1 for task in shown]
    rows: list[list[Cell]] = [
        [str(task), *(number("accuracy", value, score, missing="") for value in row)]
        for task, row in zip(numbers, few, strict=False)
    ]
    heads = ("after task", *(f"on task {task}" for task in numbers))
    caption = f"{title}: {score.label}; empty: not measured"
    return Figure(name, title, about, Matrix(few, numbers, score), heads, rows, caption)
