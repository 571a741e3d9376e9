"""Forgetting against plasticity: what a cell keeps, and what it can still learn."""

from bnnlab_report.blocks import Cell, Figure, Figures, Note, Section, count, number
from bnnlab_report.drawing.plot import Point, Series, scattered
from bnnlab_report.material import Material, lacking
from bnnlab_studies.tables import heading

WHAT = {
    "plasticity": "accuracy when just learned minus that of a fresh model",
    "learning_accuracy": (
        "accuracy when just learned. Plasticity was not measured in all cells (it needs --fresh), "
        "so learning accuracy stands in its place"
    ),
}


def section(material: Material) -> Section:
    """Return the section; plasticity, where each cell has it, else learning accuracy."""
    name, words = "balance", "Forgetting and plasticity"
    if material.tasks < 2:
        return Section(name, words, [Note("There is one task: nothing can be forgotten.")])
    cells = [cell for cell in material.cells if material.values(cell, "forgetting")]
    if not cells:
        return Section(name, words, [Note("No complete run measured forgetting.")])
    has_all = all(material.values(cell, "plasticity") for cell in cells)
    across = "plasticity" if has_all else "learning_accuracy"
    rows: list[list[Cell]] = []
    series, score = [], material.score
    for cell in cells:
        found = material.values(cell, across)
        pairs = {
            seed: (found[seed], y)
            for seed, y in material.values(cell, "forgetting").items()
            if seed in found
        }
        rows += [
            [cell, count(seed), number(across, x, score), number("forgetting", y, score)]
            for seed, (x, y) in pairs.items()
        ]
        points = [
            Point(score.factor * x, score.factor * y, about=f"{cell}, seed {seed}")
            for seed, (x, y) in pairs.items()
        ]
        series.append(Series(cell, material.looks[cell], points, "dots"))
    title = f"Forgetting against {score.named(across.replace('_', ' '))}"
    better = score.named(WHAT[across])
    about = f"A mark is a run. To the right: it learns better ({better}). Below: it forgets less."
    about += lacking(material, cells)
    heads = heading(across, score), heading("forgetting", score)
    drawing = scattered(series, *heads)
    figure = Figure("forgetting", title, about, drawing, ("cell", "seed", *heads), rows)
    return Section(name, words, [Figures([figure])])
