"""Calibration, entropies and out-of-distribution detection, where they were measured."""

from bnnlab_report.blocks import Figure, Figures, Note, Section, plain
from bnnlab_report.contents import reliability
from bnnlab_report.contents.cells import SPREAD, mean_row
from bnnlab_report.drawing.intervals import Intervals, Row
from bnnlab_report.material import Material

MEANINGS = {
    "ece": (
        "Expected calibration error",
        "|accuracy - confidence| in 15 bins, each weighted by its examples; 0 is best.",
    ),
    "nll": ("Negative log-likelihood", "In nats; less is better."),
    "brier": ("Brier score", "0 is perfect, 2 the worst."),
    "entropy": ("Entropy", "Of the mean prediction, in bits."),
    "aleatoric": ("Aleatoric uncertainty", "Mean entropy of each draw's prediction, in bits."),
    "epistemic": ("Epistemic uncertainty", "Disagreement of the draws, in bits."),
    "ood_auroc": (
        "Out-of-distribution detection",
        "Area under the ROC curve with the entropy as score; 0.5 is chance, 1 perfect.",
    ),
}

OF_DRAWS = ("aleatoric", "epistemic")
"""What says something only of predictions by draws."""


def section(material: Material) -> Section:
    """Return the section with a figure per measure."""
    draws = any(material.summary(cell, "uncertainty.epistemic").mean for cell in material.cells)
    keys = [key for key in MEANINGS if draws or key not in OF_DRAWS]
    drawn = [figure for key in keys if (figure := _figure(material, key))]
    if diagram := reliability.figure(material):
        drawn.insert(1, diagram)
    name, words = "uncertainty", "Uncertainty"
    if not drawn:
        text = "Not measured. Runs with --uncertainty, and those that evaluate by draws, have it."
        return Section(name, words, [Note(text)])
    text = (
        "Of the predictions for all tasks after the last one. Bars are 95 % intervals of the mean "
        "over the seeds."
    )
    if not draws:
        text += (
            " No cell evaluates by draws, so epistemic uncertainty is 0, and aleatoric the entropy."
        )
    return Section(name, words, [Note(text), Figures(drawn)])


def _figure(material: Material, key: str) -> Figure | None:
    measure, (title, about) = f"uncertainty.{key}", MEANINGS[key]
    found = {cell: material.summary(cell, measure) for cell in material.cells}
    there = {cell: its for cell, its in found.items() if its.mean is not None}
    if not there:
        return None
    rows = [
        Row(c, material.looks[c], its.mean, its.low, its.high, plain(its.mean).text)
        for c, its in there.items()
    ]
    cells = [mean_row(material, cell, measure) for cell in found]
    heads = ("cell", "seeds", "mean", *SPREAD)
    return Figure(f"uncertainty-{key}", title, about, Intervals(rows, title), heads, cells)
